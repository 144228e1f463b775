"""Resources for requests that mean something: made when a path first needs them, found by walking the path.

For ``/v1/vaults/{vault_id}/credentials/{credential_id}`` a vault is made at ``/v1/vaults`` and a credential in it.
Where nothing can be made, the first item of the list at that place is taken.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests

from tests.support.efferent_server import API_KEY

TIMEOUT_S: Final = 20.0
MODEL: Final = "claude-sonnet-5-5"
BETAS: Final = {
    "memory_stores": "agent-memory-2026-07-22",
    "dreams": "dreaming-2026-04-21",
    "user_profiles": "user-profiles-2026-08-18",
    "organizations": "webhooks-2026-10-07",
}
BETA_DEFAULT: Final = "managed-agents-2026-04-01"

Ids = Mapping[str, str]


class KnownResources:
    """The resources of one server."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._http = requests.Session()
        self._known: dict[str, str] = {}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def path_parameters(self, path: str, *, fresh: bool) -> dict[str, str]:
        """Values for the parameters of a path, as many as there are resources for.

        ``fresh`` makes them anew where the server's limits allow it: for requests that change, archive or delete one.
        """
        if path.startswith("/v1/environments/") and ("/work" in path or "/keys" in path):
            path = path.replace("/v1/environments", SELF_HOSTED, 1)
        names = re.findall(r"{([^}]*)}", path)
        found: dict[str, str] = {}
        for name in names:
            prefix = path.partition(f"/{{{name}}}")[0].format_map(found)
            known = None if fresh else self._known.get(prefix)
            identifier = known or self._made(prefix, is_needed=not fresh) or self._listed(prefix)
            if identifier is None:
                break
            found[name] = identifier
            if not fresh:
                self._known[prefix] = identifier
        return found

    def _made(self, path: str, *, is_needed: bool) -> str | None:
        body = BODIES.get(re.sub(r"/[a-z]+_[A-Za-z0-9]{10,}", "/*", path))
        if body is None:
            return None
        answer = self.call("POST", path.replace(SELF_HOSTED, "/v1/environments"), **body(self))
        if answer.status_code != 200 and not is_needed:
            return None
        assert answer.status_code == 200, f"POST {path}: {answer.text}"
        return str(answer.json()["id"])

    def _listed(self, path: str) -> str | None:
        answer = self.call("GET", path)
        items = answer.json().get("data") if answer.status_code == 200 else None
        return str(items[0]["id"]) if items else None

    def call(self, method: str, path: str, *, api_key: str = API_KEY, **rest: Any) -> requests.Response:
        """One request with the headers that its path wants."""
        beta = BETAS.get(re.split("[/?]", path)[2], BETA_DEFAULT)
        headers = {"x-api-key": api_key, "anthropic-version": "2026-10-21", "anthropic-beta": beta}
        return self._http.request(method, self._base_url + path, headers=headers, timeout=TIMEOUT_S, **rest)

    def another(self, path: str) -> str:
        """The id of a resource that is made now."""
        return self.path_parameters(f"{path}/{{id}}", fresh=True)["id"]

    def one(self, path: str) -> str:
        """The id of a resource at a place, made when there is none."""
        return self.path_parameters(f"{path}/{{id}}", fresh=False)["id"]


def _name() -> str:
    return f"known-{secrets.token_hex(6)}"


def _skill(_: KnownResources) -> dict[str, Any]:
    name = _name()
    text = f"---\nname: {name}\ndescription: Known to the tests.\n---\nDo it.\n"
    return {"files": [("files[]", (f"{name}/SKILL.md", text.encode(), "text/markdown"))]}


SELF_HOSTED: Final = "/v1/environments#self-hosted"
"""Stands for the environments that workers serve."""
_MESSAGE: Final = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
BODIES: Final[dict[str, Callable[[KnownResources], dict[str, Any]]]] = {
    "/v1/agents": lambda _: {"json": {"name": _name(), "model": MODEL, "tools": [{"type": "agent_toolset_20260401"}]}},
    "/v1/environments": lambda _: {"json": {"name": _name()}},
    SELF_HOSTED: lambda _: {"json": {"name": _name(), "config": {"type": "self_hosted"}}},
    f"{SELF_HOSTED}/*/keys": lambda _: {"json": {"name": _name()}},
    "/v1/sessions": lambda known: {
        "json": {"agent": known.one("/v1/agents"), "environment_id": known.one("/v1/environments")}
    },
    "/v1/sessions/*/resources": lambda known: {"json": {"type": "file", "file_id": known.another("/v1/files")}},
    "/v1/deployments": lambda known: {
        "json": {
            "name": _name(),
            "agent": known.one("/v1/agents"),
            "environment_id": known.one("/v1/environments"),
            "initial_events": [_MESSAGE],
        }
    },
    "/v1/dreams": lambda known: {
        "json": {
            "model": MODEL,
            "inputs": [
                {"type": "memory_store", "memory_store_id": known.one("/v1/memory_stores")},
                {"type": "sessions", "session_ids": [known.one("/v1/sessions")]},
            ],
        }
    },
    "/v1/vaults": lambda _: {"json": {"display_name": _name()}},
    "/v1/vaults/*/credentials": lambda _: {
        "json": {"auth": {"type": "static_bearer", "token": "t", "mcp_server_url": f"https://{_name()}.invalid/"}}
    },
    "/v1/memory_stores": lambda _: {"json": {"name": _name()}},
    "/v1/memory_stores/*/memories": lambda _: {"json": {"path": f"/{_name()}.md", "content": "known"}},
    "/v1/user_profiles": lambda _: {"json": {"name": _name()}},
    "/v1/organizations/webhooks": lambda _: {
        "json": {"url": f"https://{_name()}.invalid/", "enabled_events": ["session.created"]}
    },
    "/v1/files": lambda _: {"files": {"file": (f"{_name()}.txt", b"known", "text/plain")}},
    "/v1/skills": _skill,
}
"""What ``requests`` sends to make a resource, by its place with every id as a star."""
