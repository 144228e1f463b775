"""Writes tests/conformance/contract.json from the installed SDK: the routes of the API and the shapes of their answers.

The file is the suite's measure of every answer. ``--check`` only compares. What Python types cannot say (which of the
nullable fields are always there, which are never null) is kept in tests/conformance/presence.json.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, Union, get_args

import anthropic
from anthropic.types.beta import BetaWebhookEvent
from anthropic.types.shared.error_type import ErrorType
from pydantic import TypeAdapter

from tools.sdk_routes import SdkRoute, routes
from tools.sdk_schemas import Schema, SchemaSet

FOLDER: Final = Path(__file__).parent.parent / "tests" / "conformance"
FILE: Final = FOLDER / "contract.json"
PRESENCE: Final = FOLDER / "presence.json"

ERROR_TYPES_UNNAMED: Final = ("request_too_large",)
"""Types of errors that the service sends and the SDK's enum lacks."""

_CURSOR: Final = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_PAGES: Final[dict[str, dict[str, Schema]]] = {
    "AsyncPageCursor": {"next_page": _CURSOR},
    "AsyncBidirectionalPageCursor": {"next_page": _CURSOR, "prev_page": _CURSOR},
    "AsyncPage": {"has_more": {"type": "boolean"}, "first_id": _CURSOR, "last_id": _CURSOR},
}
_PAGES_TELL_MORE: Final = "/v1/skills"
"""Lists of the service that have ``has_more`` although the SDK's pages of them do not."""
_FILE: Final = {"type": "string", "format": "binary"}
_EVENT_ROUTE: Final = "beta.sessions.events.stream"


def contract() -> dict[str, Any]:
    """Routes, event types and schemas."""
    schemas = SchemaSet(json.loads(PRESENCE.read_text()))
    rows = [(route, _answer(route, schemas)) for route in routes()]
    webhook = schemas.of(BetaWebhookEvent)
    schemas.finish()
    for _, answer in rows:
        schemas.discriminate(answer)
    return {
        "sdk": f"anthropic {anthropic.__version__}",
        "routes": [_row(route, answer) for route, answer in rows],
        "event_types": _event_types(rows),
        "webhook": webhook,
        "components": {"schemas": {**schemas.models, "ErrorEnvelope": _error_envelope()}},
    }


def text() -> str:
    """The file: a route or a schema a line, so that a change of the SDK is a readable difference."""
    whole = contract()
    lines = [f'"sdk": {json.dumps(whole["sdk"])}']
    lines.append('"routes": [\n' + ",\n".join(json.dumps(row) for row in whole["routes"]) + "\n]")
    lines.append(f'"event_types": {json.dumps(whole["event_types"], indent=0)}')
    lines.append(f'"webhook": {json.dumps(whole["webhook"])}')
    schemas = [f"{json.dumps(name)}: {json.dumps(model)}" for name, model in whole["components"]["schemas"].items()]
    lines.append('"components": {"schemas": {\n' + ",\n".join(schemas) + "\n}}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _answer(route: SdkRoute, schemas: SchemaSet) -> Schema:
    if route.type is None:
        return {"type": "string", "format": "binary"}
    read = schemas.of(route.type)
    if route.page is None:
        return {"anyOf": [read, {"type": "null"}]} if route.nullable else read
    always = {"data": {"type": "array", "items": read}, **_PAGES[route.page]}
    also = {"has_more": {"type": "boolean"}} if route.path.startswith(_PAGES_TELL_MORE) else {}
    return {
        "type": "object",
        "properties": {**always, **also},
        "required": list(always),
        "additionalProperties": False,
    }


def _row(route: SdkRoute, answer: Schema) -> dict[str, Any]:
    query = {name: TypeAdapter(_argument(kind)).json_schema() for name, kind in route.query.items()}
    return {
        "sdk_method": route.sdk_method,
        "method": route.method,
        "path": route.path,
        "beta": route.beta,
        "query": query,
        "body": route.body,
        "parts": _part_schemas(route),
        "answer": route.answer,
        "schema": answer,
    }


def _part_schemas(route: SdkRoute) -> Schema:
    """Parts of a multipart body; lists of files have brackets in their names."""
    schemas: Schema = {}
    for name, kind in route.parts.items():
        if name == "files":
            schemas["files[]"] = {"type": "array", "items": _FILE}
        else:
            schemas[name] = _FILE if name == "file" else TypeAdapter(_argument(kind)).json_schema()
    return schemas


def _argument(kind: Any) -> Any:
    """The type of an argument without the SDK's mark for one that is left out."""
    return Union[tuple(each for each in get_args(kind) if each is not anthropic.Omit)]  # noqa: UP007


def _event_types(rows: list[tuple[SdkRoute, Schema]]) -> list[str]:
    schema = next(answer for route, answer in rows if route.sdk_method == _EVENT_ROUTE)
    return sorted(schema["discriminator"]["mapping"])


def _error_envelope() -> Schema:
    types = [*TypeAdapter(ErrorType).json_schema()["enum"], *ERROR_TYPES_UNNAMED]
    error = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": types},
            "message": {"type": "string", "minLength": 1},
            "details": {"type": "object", "properties": {"error_code": {"type": "string"}}},
        },
        "required": ["type", "message"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": "error"},
            "error": error,
            "request_id": {"type": "string", "pattern": "^req_"},
        },
        "required": ["type", "error", "request_id"],
        "additionalProperties": False,
    }


def main() -> int:
    """Write the file, or say that it is out of step."""
    if "--check" in sys.argv[1:]:
        if FILE.is_file() and FILE.read_text() == text():
            return 0
        print(f"{FILE.name} is out of step with the SDK: run python -m tools.generate_contract", file=sys.stderr)
        return 1
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
