"""Whose key a request carries. Keys are known by their hashes only, in memory, kept current by the control feed."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common import api_keys
from efferent.common.api_keys import ApiKey
from efferent.common.ports import ControlLog, LogUnreadable, RawRecord
from efferent.gateway.context import Caller
from efferent.gateway.errors import InvalidRequest, Unauthenticated

LOOKUPS_AT_ONCE_MAX: Final = 8
"""Unknown keys that are looked up in the log at the same time; the others wait."""
KEY_LENGTH_MAX: Final = 512

_KEY_SUBJECTS: Final = "control.api_key."
_log = logging.getLogger(__name__)


class KeyRing:
    """All keys by their hash. Reads the log only for a key that it has not heard of."""

    def __init__(self, control_log: ControlLog) -> None:
        self._control_log = control_log
        self._by_hash: dict[str, tuple[int, ApiKey]] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE_MAX)

    def apply(self, records: Sequence[RawRecord]) -> None:
        """Take in the next records of ``CONTROL``."""
        for raw in records:
            if raw.subject.startswith(_KEY_SUBJECTS):
                self._take_in(raw)

    async def find(self, key: str) -> ApiKey | None:
        """The valid key, or None. Raises LogUnavailable when an unknown key cannot be looked up."""
        known = self._by_hash.get(api_keys.hash_key(key))
        if known is None:
            known = await self._look_up(key)
        if known is None or known[1].revoked_at is not None or not api_keys.matches(key, known[1].hash):
            return None
        return known[1]

    async def _look_up(self, key: str) -> tuple[int, ApiKey] | None:
        """A key that was made a moment ago may be in the log before the feed brings it."""
        async with self._lookups:
            raw = await self._control_log.last(api_keys.subject(api_keys.key_id(key)))
        if raw is not None:
            self._take_in(raw)
        return self._by_hash.get(api_keys.hash_key(key))

    def _take_in(self, raw: RawRecord) -> None:
        try:
            key = api_keys.decode(raw).data
        except LogUnreadable as error:
            _log.error("an API key's record is not readable", exc_info=error, extra={"sequence": raw.sequence})
            return
        known = self._by_hash.get(key.hash)
        if known is None or known[0] < raw.sequence:
            self._by_hash[key.hash] = (raw.sequence, key)


async def authenticate(request: web.Request, keys: KeyRing, organization_id: str) -> Caller:
    """Who asks. Raises Unauthenticated (with one text for every reason) and LogUnavailable."""
    text = _key_of(request)
    key = await keys.find(text) if text is not None and len(text) <= KEY_LENGTH_MAX else None
    if key is None:
        raise Unauthenticated
    return Caller(organization_id=organization_id, workspace_id=key.workspace_id, key_id=key.id)


def check_workspace(request: web.Request, caller: Caller) -> None:
    """``anthropic-workspace-id`` may be sent and must then name the key's workspace. Raises InvalidRequest."""
    wanted = request.headers.get("anthropic-workspace-id")
    if wanted is not None and wanted != caller.workspace_id:
        raise InvalidRequest("anthropic-workspace-id: does not match the workspace of the API key")


def _key_of(request: web.Request) -> str | None:
    """The one key of a request; None when there is none, or more than one."""
    key_headers = request.headers.getall("x-api-key", [])
    bearer_headers = request.headers.getall("authorization", [])
    if len(key_headers) + len(bearer_headers) != 1:
        return None
    if key_headers:
        return key_headers[0].strip() or None
    scheme, _, token = bearer_headers[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
