"""Snapshots of long sessions: a brain that meets one for the first time reads the newest snapshot and the log's tail.

A cache and nothing more. It is written now and then after a turn, beside the work; it counts only while the log still
holds the very record that it ends with; and whatever is odd about it, the session is folded from its first record.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from efferent.brain import snapshot_blob
from efferent.brain.session_cache import FoldedSession, caught_up
from efferent.common.domain.ids import SessionId
from efferent.common.ports import BlobStore, SessionLog

EVENTS_BETWEEN: Final = 1_000
"""Events after which a session is worth another snapshot."""
SNAPSHOT_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger one (images, documents) would cost more than it saves."""
WAITING_MAX: Final = 16
"""Snapshots that wait to be written; further ones are left to a later turn."""
REMEMBERED_MAX: Final = 10_000
"""Sessions of which is known when they were last kept."""

logger = logging.getLogger("efferent.brain")


class Snapshots:
    """Reads and writes the snapshots of this brain's sessions."""

    def __init__(self, blobs: BlobStore, log: SessionLog, *, events_between: int = EVENTS_BETWEEN) -> None:
        self._blobs = blobs
        self._log = log
        self._events_between = events_between
        self._version = snapshot_blob.code_version()
        self._kept_at: OrderedDict[SessionId, int] = OrderedDict()
        self._waiting: OrderedDict[SessionId, FoldedSession] = OrderedDict()
        self._writing: asyncio.Task[None] | None = None

    async def caught_up(self, session_id: SessionId, reach: int | None) -> FoldedSession:
        """A session of which nothing is known yet, folded up to ``reach``. Raises LogUnavailable, LogUnreadable."""
        kept = await self._newest(session_id)
        if kept is not None and (reach is None or kept.sequence <= reach):
            folded = await self._continued(kept, session_id, reach)
            if folded is not None:
                self._remember(session_id, kept.events)
                return folded
        return await caught_up(FoldedSession(), self._log, session_id, reach)

    def offer(self, session_id: SessionId, folded: FoldedSession) -> None:
        """A turn has ended: keep the session, beside the work, when it has grown enough since the last time."""
        if folded.state is None or folded.state.deleted:
            return
        if folded.events - self._kept_at.get(session_id, 0) < self._events_between or len(self._waiting) >= WAITING_MAX:
            return
        self._remember(session_id, folded.events)
        self._waiting[session_id] = folded
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="snapshots")

    async def settle(self) -> None:
        """Return when nothing waits to be written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Write no more; what was not written is folded again."""
        self._waiting.clear()
        await self.settle()

    async def _newest(self, session_id: SessionId) -> FoldedSession | None:
        try:
            return snapshot_blob.load(await self._blobs.get(self._key(session_id)))
        except KeyError:
            return None
        except (OSError, snapshot_blob.NotASnapshot) as error:
            logger.warning("a snapshot cannot be read: %s", error, extra={"session_id": session_id})
            return None

    async def _continued(self, kept: FoldedSession, session_id: SessionId, reach: int | None) -> FoldedSession | None:
        """The snapshot with the log's tail; None when the log does not hold the record that the snapshot ends with."""
        folded = None
        async for stored in self._log.read(session_id, after=kept.sequence - 1, reach=reach):
            if folded is not None:
                folded = folded.advanced(stored)
            elif (stored.sequence, stored.record.id) == (kept.sequence, kept.record_id):
                folded = kept
            else:
                return None
        return folded

    async def _write_waiting(self) -> None:
        while self._waiting:
            session_id, folded = self._waiting.popitem(last=False)
            try:
                data = snapshot_blob.dump(folded)
                if len(data) <= SNAPSHOT_BYTES_MAX:
                    await self._blobs.put(self._key(session_id), data)
            except OSError as error:
                logger.warning("a snapshot cannot be written: %s", error, extra={"session_id": session_id})

    def _remember(self, session_id: SessionId, events: int) -> None:
        self._kept_at[session_id] = events
        self._kept_at.move_to_end(session_id)
        while len(self._kept_at) > REMEMBERED_MAX:
            self._kept_at.popitem(last=False)

    def _key(self, session_id: SessionId) -> str:
        """Below the session's own prefix, so that it is deleted with the session."""
        return f"{session_id}/snapshots/{self._version}"
