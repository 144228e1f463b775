"""Who may ask: the kinds of credentials, and which routes each of them reaches. All that is not named here is for API
keys alone.

An API key reaches everything of its workspace. An environment key is a worker's standing credential: the queue of one
environment and what a worker does with that environment's sessions. A sessions token is the credential of one claimed
work item: that item, its session, and what the session's worker needs. ``authorisation.py`` holds requests to this.
"""

from dataclasses import dataclass
from typing import Final, Literal

from efferent.common.domain.ids import EnvironmentId, SessionId, WorkId


@dataclass(frozen=True, slots=True)
class ApiKeyHolder:
    """The key of a whole workspace."""

    name: Literal["api_key"] = "api_key"


@dataclass(frozen=True, slots=True)
class EnvironmentKeyHolder:
    """The key of one environment."""

    environment_id: EnvironmentId
    name: Literal["environment_key"] = "environment_key"


@dataclass(frozen=True, slots=True)
class SessionsTokenHolder:
    """The token of one claimed work item."""

    environment_id: EnvironmentId
    session_id: SessionId
    work_id: WorkId
    token_hash: str
    is_live: bool
    """Whether the item is still this token's; if not, it may only learn of that."""
    name: Literal["sessions_token"] = "sessions_token"


Principal = ApiKeyHolder | EnvironmentKeyHolder | SessionsTokenHolder
PrincipalName = Literal["api_key", "environment_key", "sessions_token"]

_ITEM: Final = "/v1/environments/{environment_id}/work/{work_id}"
_QUEUE: Final = "/v1/environments/{environment_id}/work"
_SESSION: Final = "/v1/sessions/{session_id}"
_VERSIONS: Final = "/v1/skills/{skill_id}/versions"
_MEMORIES: Final = "/v1/memory_stores/{memory_store_id}/memories"

_KEYS: Final[frozenset[PrincipalName]] = frozenset({"api_key", "environment_key"})
_ALL: Final[frozenset[PrincipalName]] = frozenset({"api_key", "environment_key", "sessions_token"})
_NO_ENVIRONMENT_KEY: Final[frozenset[PrincipalName]] = frozenset({"api_key", "sessions_token"})
_API_KEY: Final[frozenset[PrincipalName]] = frozenset({"api_key"})

ALLOWED: Final[dict[tuple[str, str], frozenset[PrincipalName]]] = {
    ("GET", f"{_QUEUE}/poll"): _KEYS,
    ("GET", f"{_QUEUE}/stats"): _KEYS,
    ("GET", _QUEUE): _KEYS,
    ("POST", f"{_ITEM}/ack"): _KEYS,
    ("POST", f"{_ITEM}/heartbeat"): _ALL,
    ("POST", f"{_ITEM}/stop"): _ALL,
    ("GET", _SESSION): _ALL,
    ("GET", f"{_SESSION}/events"): _ALL,
    ("POST", f"{_SESSION}/events"): _ALL,
    ("GET", f"{_SESSION}/events/stream"): _ALL,
    ("GET", _VERSIONS): _ALL,
    ("GET", f"{_VERSIONS}/{{version}}"): _ALL,
    ("GET", f"{_VERSIONS}/{{version}}/content"): _ALL,
    ("GET", _MEMORIES): _NO_ENVIRONMENT_KEY,
    ("POST", _MEMORIES): _NO_ENVIRONMENT_KEY,
    ("GET", f"{_MEMORIES}/{{memory_id}}"): _NO_ENVIRONMENT_KEY,
    ("POST", f"{_MEMORIES}/{{memory_id}}"): _NO_ENVIRONMENT_KEY,
    ("DELETE", f"{_MEMORIES}/{{memory_id}}"): _NO_ENVIRONMENT_KEY,
}
"""By method and path pattern: who reaches a route that is not for API keys alone."""

AFTER_THE_LEASE: Final = frozenset({("POST", f"{_ITEM}/heartbeat"), ("POST", f"{_ITEM}/stop")})
"""What a sessions token still reaches when its lease is over: to be told so."""

WORKER_EVENTS: Final = ("user.tool_result", "user.custom_tool_result")
"""What a worker may send to a session: it answers calls, and neither confirms them nor speaks for the user."""


def allowed_on(method: str, route: str) -> frozenset[PrincipalName]:
    """The kinds of credentials that reach a route."""
    return ALLOWED.get(("GET" if method == "HEAD" else method, route), _API_KEY)
