"""Holds each request to what its credential reaches, before its handler sees it.

``principals.py`` says which kinds of credentials reach which route; here the ids of the path are held to the one
environment, session or item that a worker's credential is for. What a credential may know of and may not do is 403;
what it may not even know of is 404, as with the ids of another workspace.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.domain import work
from efferent.common.domain.control.environment import not_found as environment_not_found
from efferent.common.domain.ids import SessionId, WorkspaceId, parse_session_id
from efferent.common.domain.resources.session_resource import MemoryStoreResource
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import from_epoch_us
from efferent.common.ports import Clock
from efferent.gateway.access.key_ring import KeyRing
from efferent.gateway.access.principals import (
    AFTER_THE_LEASE,
    WORKER_EVENTS,
    ApiKeyHolder,
    EnvironmentKeyHolder,
    SessionsTokenHolder,
    allowed_on,
)
from efferent.gateway.context import Caller, caller_of
from efferent.gateway.errors import NotFound, PermissionDenied, Unauthenticated
from efferent.gateway.sessions.store import NOT_FOUND_TEXT as NO_SESSION_TEXT
from efferent.gateway.sessions.store import SessionStore
from efferent.gateway.work import tokens
from efferent.gateway.work.queue import NOT_FOUND_TEXT as NO_WORK_TEXT
from efferent.gateway.work.services import WorkServices

LOOKUPS_AT_ONCE_MAX: Final = 8
"""Tokens that are looked up in the log at the same time; the others wait."""
_READING: Final = frozenset({"GET", "HEAD"})


class Authorisation:
    """Checks requests of all kinds of callers."""

    def __init__(self, sessions: SessionStore, work_services: WorkServices, keys: KeyRing, clock: Clock) -> None:
        self._sessions = sessions
        self._work = work_services
        self._keys = keys
        self._clock = clock
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE_MAX)

    async def token_caller(self, text: str, organization_id: str) -> Caller | None:
        """Who calls with this sessions token; None when it is not one that was ever valid. Raises LogUnavailable."""
        origin = tokens.parse(text)
        if origin is None:
            return None
        token_hash = tokens.hash_token(text)
        item = await self._item(origin, token_hash)
        if item is None or item.claim is None or not await self._is_key_valid(item):
            return None
        principal = SessionsTokenHolder(
            environment_id=item.environment_id,
            session_id=item.session_id,
            work_id=item.id,
            token_hash=token_hash,
            is_live=work.is_token_live(item, from_epoch_us(self._clock.now_us()), token_hash),
        )
        return Caller(organization_id, item.workspace_id, item.claim.key_id, principal)

    async def check(self, request: web.Request, caller: Caller) -> None:
        """Raises PermissionDenied, NotFound, Unauthenticated when the token's lease is over, LogUnavailable."""
        principal = caller.principal
        if isinstance(principal, ApiKeyHolder):
            return
        resource = request.match_info.route.resource
        route = (request.method, resource.canonical if resource is not None else "")
        if isinstance(principal, SessionsTokenHolder) and not principal.is_live and route not in AFTER_THE_LEASE:
            raise Unauthenticated
        if principal.name not in allowed_on(*route):
            raise PermissionDenied(f"{_CREDENTIALS[principal.name]} may not call {request.method} {route[1]}")
        match principal:
            case EnvironmentKeyHolder():
                await self._check_environment_key(request, principal, caller.workspace_id)
            case SessionsTokenHolder():
                await self._check_token(request, principal, caller.workspace_id)

    async def _check_environment_key(
        self, request: web.Request, principal: EnvironmentKeyHolder, workspace_id: WorkspaceId
    ) -> None:
        path = request.match_info
        if path.get("environment_id", principal.environment_id) != principal.environment_id:
            raise environment_not_found()
        session_id = _session_id(request)
        if session_id is not None:
            session = await self._sessions.known(session_id, workspace_id)
            if session.state.environment_id != principal.environment_id:
                raise NotFound(NO_SESSION_TEXT)

    async def _check_token(
        self, request: web.Request, principal: SessionsTokenHolder, workspace_id: WorkspaceId
    ) -> None:
        path = request.match_info
        if path.get("environment_id", principal.environment_id) != principal.environment_id:
            raise environment_not_found()
        if path.get("work_id", principal.work_id) != principal.work_id:
            raise NotFound(NO_WORK_TEXT)
        session_id = _session_id(request)
        if session_id is not None and session_id != principal.session_id:
            raise NotFound(NO_SESSION_TEXT)
        if "skill_id" in path or "memory_store_id" in path:
            session = await self._sessions.known(principal.session_id, workspace_id)
            _check_attached(request, session.state)

    async def _item(self, origin: tokens.TokenOrigin, token_hash: str) -> WorkItem | None:
        """The item that the token is or was for, from memory when it is known there."""
        known = self._work.index.find(origin.environment_id, origin.work_id)
        if known is not None and work.holds(known.item, token_hash):
            return known.item
        async with self._lookups:
            stored = await self._work.log.find(origin.environment_id, origin.work_id)
        return stored.item if stored is not None and work.knows_token(stored.item, token_hash) else None

    async def _is_key_valid(self, item: WorkItem) -> bool:
        """Whether the key that polled the item is still worth something; another gateway may have taken it in."""
        if item.claim is None:
            return False
        if not self._keys.is_valid(item.claim.key_id):
            await self._keys.refresh(item.claim.key_id)
        return self._keys.is_valid(item.claim.key_id)


def check_sent_types(request: web.Request, types: Sequence[str]) -> None:
    """A worker answers calls and sends nothing else. Raises PermissionDenied that names the event."""
    principal = caller_of(request).principal
    if isinstance(principal, ApiKeyHolder):
        return
    for index, event_type in enumerate(types):
        if event_type not in WORKER_EVENTS:
            allowed = " and ".join(f"`{name}`" for name in WORKER_EVENTS)
            raise PermissionDenied(
                f"events[{index}]: {_CREDENTIALS[principal.name]} may not send `{event_type}`; only {allowed}"
            )


def _check_attached(request: web.Request, state: SessionState) -> None:
    """The skills and memory stores of a token are those of its session. Raises NotFound, PermissionDenied."""
    skill_id = request.match_info.get("skill_id")
    if skill_id is not None and skill_id not in {skill.skill_id for skill in state.agent.skills}:
        raise NotFound("Skill not found.")
    store_id = request.match_info.get("memory_store_id")
    if store_id is None:
        return
    stores = [one.resource for one in state.resources if isinstance(one.resource, MemoryStoreResource)]
    store = next((store for store in stores if store.memory_store_id == store_id), None)
    if store is None:
        raise NotFound("Memory store not found.")
    if store.access == "read_only" and request.method not in _READING:
        raise PermissionDenied(f"memory store {store_id} is attached to session {state.session_id} as read_only")


def _session_id(request: web.Request) -> SessionId | None:
    """The session of the path; one that cannot be a session's id is left to the handler to refuse."""
    text = request.match_info.get("session_id")
    return parse_session_id(text) if text is not None else None


_CREDENTIALS: Final = {
    "api_key": "an API key",
    "environment_key": "an environment key",
    "sessions_token": "a sessions token",
}
