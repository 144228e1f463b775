"""All API keys in memory by their id, kept current by the control feed: who may in, and who no longer may.

Only hashes are kept. The ring reads the log for keys and workspaces that it has not heard of; from then on the feed
tells it of every change. What stays open for long (streams, long polls) says so and is ended when its key is revoked or
expires, or when its workspace is archived.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final

from aiohttp import web

from efferent.common import api_keys, workspaces
from efferent.common.api_keys import ApiKey
from efferent.common.domain import timestamp
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.ports import Clock, ControlLog, LogUnreadable, RawRecord
from efferent.gateway.errors import Unauthenticated

LOOKUPS_AT_ONCE_MAX: Final = 8
"""Unknown keys that are looked up in the log at the same time; the others wait."""

_KEY_SUBJECTS: Final = api_keys.SUBJECT_PATTERN.removesuffix("*")
_WORKSPACE_SUBJECTS: Final = workspaces.SUBJECT_PATTERN.removesuffix("*")
_log = logging.getLogger(__name__)

End = Callable[[], None]
"""Ends something that stays open; called at most once."""


class KeyRing:
    """The keys and workspaces of one server."""

    def __init__(self, control_log: ControlLog, clock: Clock) -> None:
        self._control_log = control_log
        self._clock = clock
        self._keys: dict[ApiKeyId, tuple[int, ApiKey]] = {}
        self._is_archived: dict[WorkspaceId, tuple[int, bool]] = {}
        self._open: dict[ApiKeyId, dict[object, End]] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE_MAX)

    def apply(self, records: Sequence[RawRecord]) -> None:
        """Take in the next records of ``CONTROL``, and end what they leave no right to be open."""
        for raw in records:
            if raw.subject.startswith(_KEY_SUBJECTS):
                self._take_in_key(raw)
            elif raw.subject.startswith(_WORKSPACE_SUBJECTS):
                self._take_in_workspace(raw)

    async def find(self, key: str) -> ApiKey | None:
        """The valid key, or None. Raises LogUnavailable when an unknown key cannot be looked up."""
        identifier = api_keys.key_id(key)
        if identifier not in self._keys:
            await self._look_up(api_keys.subject(identifier))
        found = self._keys.get(identifier)
        if found is None or not api_keys.matches(key, found[1].hash):
            return None
        known = found[1]
        if known.workspace_id not in self._is_archived:
            await self._look_up(workspaces.subject(known.workspace_id))
            self._is_archived.setdefault(known.workspace_id, (0, False))
        return known if self.is_valid(known.id) else None

    def is_valid(self, identifier: ApiKeyId) -> bool:
        """Whether a key that was found before would still be found."""
        found = self._keys.get(identifier)
        if found is None or not found[1].is_valid(timestamp.from_epoch_us(self._clock.now_us())):
            return False
        return not self._is_archived.get(found[1].workspace_id, (0, False))[1]

    async def refresh(self, identifier: ApiKeyId) -> None:
        """Take in what the log has of a key now, without waiting for the feed. Raises LogUnavailable."""
        await self._look_up(api_keys.subject(identifier))

    @contextlib.contextmanager
    def while_valid(self, identifier: ApiKeyId, end: End) -> Iterator[None]:
        """Call ``end`` when the key stops being valid during the block; at once when it has stopped already."""
        handle = object()
        self._open.setdefault(identifier, {})[handle] = end
        timer = self._at_expiry(identifier)
        try:
            if not self.is_valid(identifier):
                self._end_all(identifier)
            yield
        finally:
            if timer is not None:
                timer.cancel()
            ends = self._open.get(identifier, {})
            ends.pop(handle, None)
            if not ends:
                self._open.pop(identifier, None)

    async def unless_refused[R](self, identifier: ApiKeyId, waiting: Coroutine[None, None, R]) -> R:
        """What a long wait comes to. Raises Unauthenticated as soon as the key stops being valid."""
        refused = asyncio.Event()
        with self.while_valid(identifier, refused.set):
            wait, end = asyncio.ensure_future(waiting), asyncio.ensure_future(refused.wait())
            try:
                await asyncio.wait([wait, end], return_when=asyncio.FIRST_COMPLETED)
                if wait.done():
                    return wait.result()
                raise Unauthenticated
            finally:
                for task in (wait, end):
                    task.cancel()
                await asyncio.wait([wait, end])

    def _at_expiry(self, identifier: ApiKeyId) -> asyncio.TimerHandle | None:
        found = self._keys.get(identifier)
        if found is None or (expires_at := found[1].expires_at) is None:
            return None
        now = timestamp.from_epoch_us(self._clock.now_us())
        delay_s = timestamp.seconds_between(now, expires_at)
        return asyncio.get_running_loop().call_later(delay_s, self._end_all, identifier)

    def _end_all(self, identifier: ApiKeyId) -> None:
        for end in self._open.pop(identifier, {}).values():
            end()

    async def _look_up(self, subject: str) -> None:
        """What was made a moment ago may be in the log before the feed brings it."""
        async with self._lookups:
            raw = await self._control_log.last(subject)
        if raw is not None:
            self.apply([raw])

    def _take_in_key(self, raw: RawRecord) -> None:
        try:
            key = api_keys.decode(raw).data
        except LogUnreadable as error:
            _log.error("an API key's record is not readable", exc_info=error, extra={"sequence": raw.sequence})
            return
        known = self._keys.get(key.id)
        if known is None or known[0] < raw.sequence:
            self._keys[key.id] = (raw.sequence, key)
            if key.revoked_at is not None:
                self._end_all(key.id)

    def _take_in_workspace(self, raw: RawRecord) -> None:
        try:
            workspace = workspaces.decode(raw).data
        except LogUnreadable as error:
            _log.error("a workspace's record is not readable", exc_info=error, extra={"sequence": raw.sequence})
            return
        known = self._is_archived.get(workspace.id)
        if known is None or known[0] < raw.sequence:
            is_archived = workspace.archived_at is not None
            self._is_archived[workspace.id] = (raw.sequence, is_archived)
            if is_archived:
                for identifier in list(self._open):
                    if identifier in self._keys and self._keys[identifier][1].workspace_id == workspace.id:
                        self._end_all(identifier)


KEYS: Final = web.AppKey("efferent.keys", KeyRing)


def keys_of(request: web.Request) -> KeyRing:
    """The keys of the gateway that serves this request."""
    return request.app[KEYS]
