"""Routes that this server has beside the contract: keys of workers, which the hosted service makes in its console."""

from typing import Any, Final

Row = dict[str, Any]

_KEY: Final[Row] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^apikey_"},
        "type": {"type": "string", "const": "environment_key"},
        "environment_id": {"type": "string", "pattern": "^env_"},
        "name": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "expires_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
    },
    "required": ["id", "type", "environment_id", "name", "created_at", "expires_at"],
    "additionalProperties": False,
}
_KEY_WITH_SECRET: Final[Row] = {
    **_KEY,
    "properties": {**_KEY["properties"], "key": {"type": "string"}},
    "required": [*_KEY["required"], "key"],
}
_PAGE: Final[Row] = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": _KEY}, "next_page": {"type": "null"}},
    "required": ["data", "next_page"],
    "additionalProperties": False,
}
_DELETED: Final[Row] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "type": {"type": "string", "const": "environment_key_deleted"}},
    "required": ["id", "type"],
    "additionalProperties": False,
}
_KEYS: Final = "/v1/environments/{environment_id}/keys"


def _row(name: str, method: str, path: str, schema: Row, *, answer: str = "object", body: str | None = None) -> Row:
    return {
        "sdk_method": f"own.environments.keys.{name}",
        "method": method,
        "path": path,
        "beta": "managed-agents-2026-04-01",
        "query": {},
        "body": body,
        "parts": {},
        "answer": answer,
        "schema": schema,
    }


ROWS: Final = (
    _row("create", "POST", _KEYS, _KEY_WITH_SECRET, body="json"),
    _row("list", "GET", _KEYS, _PAGE, answer="list"),
    _row("revoke", "DELETE", f"{_KEYS}/{{key_id}}", _DELETED),
)
"""In the shape of the contract's routes."""
