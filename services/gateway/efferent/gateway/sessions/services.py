"""The running parts behind the session routes, and the loop that feeds them: every committed record, once, in order.

Live readers come first, then the projection; both see the same records, so a list never shows what a stream has not.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from efferent.common import codec
from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, Message
from efferent.common.jetstream.session_log import RecordPayloads
from efferent.common.ports import (
    BlobStore,
    BlobsUnavailable,
    Clock,
    ControlLog,
    Feed,
    IdSource,
    LogError,
    LogUnreadable,
    RawRecord,
    SessionLog,
)
from efferent.common.record_folding import sort_record
from efferent.gateway.errors import Overloaded
from efferent.gateway.sessions.deletion import (
    Belongings,
    NotReleased,
    Sandboxes,
    SessionDeletion,
    TombstoneListener,
)
from efferent.gateway.sessions.projection import REACH_DEADLINE_S, CommittedRecord, SessionProjection
from efferent.gateway.sessions.public_events import parse_record, public_events
from efferent.gateway.sessions.store import EXECUTE_DEADLINE_S, SessionStore
from efferent.gateway.streams.live import LiveHub, Unsubscribe

INDEX_FILE: Final = "sessions.sqlite"
SWEEP_INTERVAL_S: Final = 30.0
"""How often deletions that another gateway left half done are finished."""
CHECK_WAIT_S: Final = 1.0
"""How long readiness waits for the projection to reach what the log held when it was asked."""
_RETRY_S: Final = 0.5
_RECORDS_READ_AT_ONCE: Final = 250
"""Records that are read without serving anybody else in between."""
_RECORDS_FOLDED_AT_ONCE: Final = 1_000
"""Records that are folded without serving anybody else in between: those of one session share a copy of its state."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What session services are made of."""

    log: SessionLog
    feed: Feed
    control_log: ControlLog
    blobs: BlobStore
    connection: Connection
    clock: Clock
    ids: IdSource
    index_dir: Path
    behind_wait_s: float = REACH_DEADLINE_S
    """How long a list waits for the projection."""
    write_deadline_s: float = EXECUTE_DEADLINE_S
    """How long a command is decided again after conflicts."""
    sandboxes: Sandboxes | None = None
    belongings: Belongings | None = None


class SubscribedPreviews:
    """Previews as brains publish them on core NATS."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def subscribe(self, session_id: SessionId, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Pass on each preview of the session. Raises LogUnavailable."""

        def deliver(message: Message) -> None:
            receive(message.data)

        return (await self._connection.subscribe(subjects.delta(session_id), deliver)).end


class SessionServices:
    """Everything that the session routes use."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self.clock = parts.clock
        self.ids = parts.ids
        self.log = parts.log
        self.feed = parts.feed
        self.projection = SessionProjection(
            parts.index_dir / INDEX_FILE, parts.log, reach_deadline_s=parts.behind_wait_s
        )
        self.hub = LiveHub(parts.log, SubscribedPreviews(parts.connection))
        self.store = SessionStore(parts.log, self.projection, parts.clock, parts.ids, deadline_s=parts.write_deadline_s)
        self.deletion = SessionDeletion(
            parts.log, parts.control_log, parts.blobs, self.projection, parts.sandboxes, parts.belongings
        )
        self.tombstones = TombstoneListener(self.projection, self.hub.session_gone)
        self._payloads = RecordPayloads(parts.blobs)
        self._passed = 0
        self.swept = asyncio.Event()
        """Set when every deletion that was left half done before the start is finished."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the projection and begin to follow the log. Raises LogUnavailable."""
        self._parts.index_dir.mkdir(parents=True, exist_ok=True)
        stream = await streams.identity(self._parts.connection, subjects.SESSIONS)
        self._passed = await self.projection.open(stream)
        self._tasks = [asyncio.create_task(self._keep_following(stream)), asyncio.create_task(self._sweep())]

    def drain(self) -> None:
        """End all streams; requests are still served."""
        self.hub.end_all()

    async def stop(self) -> None:
        """Stop following and close the projection. Safe to call twice, and after a failed start."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.projection.close()

    async def check(self) -> str | None:
        """For readiness: None when the projection has come as far as the log."""
        last = await self.feed.last_sequence()
        try:
            # Under load the newest records are always a moment away from the file: that is not being behind.
            await self.projection.reach(last, deadline_s=CHECK_WAIT_S)
        except Overloaded:
            return f"{last - self.projection.progress.applied} records behind"
        return None

    async def reach_end(self) -> None:
        """Wait until lists reflect everything that was committed when this was called. Raises Overloaded."""
        await self.projection.reach(await self.feed.last_sequence())

    async def _keep_following(self, stream: str) -> None:
        """Follow the log; when the projection's file is damaged, begin again with a new one."""
        while True:
            following = asyncio.create_task(self._follow())
            try:
                await self.projection.damaged.wait()
            finally:
                following.cancel()
                await asyncio.wait([following])
            _log.error("the session index is damaged and is built again")
            await self.projection.close()
            self._passed = await self.projection.open(stream, anew=True)

    async def _follow(self) -> None:
        while True:
            try:
                async for batch in self.feed.follow(after=self._passed):
                    await self._take(batch)
            except LogError as error:
                _log.warning("the session feed stopped: %s", error)
            except Exception as error:
                # A defect: lists stand still and readiness says so, while everything else goes on.
                _log.error("the session feed failed", exc_info=error)
            await asyncio.sleep(_RETRY_S)

    async def _take(self, batch: Sequence[RawRecord]) -> None:
        for start in range(0, len(batch), _RECORDS_FOLDED_AT_ONCE):
            committed, together = [], batch[start : start + _RECORDS_FOLDED_AT_ONCE]
            for number, raw in enumerate(together, 1):
                is_here = codec.claimed_key(raw.payload) is None
                payload = raw.payload if is_here else await self._claimed(raw)
                if payload is not None and (record := self._committed(raw, payload)) is not None:
                    committed.append(record)
                if number % _RECORDS_READ_AT_ONCE == 0:
                    await asyncio.sleep(0)  # requests are served in between while a long history is made up for
            await self.projection.apply(committed, until=together[-1].sequence)
            await asyncio.sleep(0)
        self._passed = batch[-1].sequence

    async def _claimed(self, raw: RawRecord) -> bytes | None:
        try:
            return await self._payloads.resolve(raw.payload)
        except LogUnreadable as error:
            _tell_unreadable(raw, error)
            return None

    def _committed(self, raw: RawRecord, payload: bytes) -> CommittedRecord | None:
        """Show the record to live readers, and prepare it for the projection; None when it cannot be read."""
        try:
            session_id, _ = subjects.parse_session(raw.subject)
            if self.hub.is_watched(session_id):
                self.hub.record(session_id, raw.sequence, public_events(raw.sequence, parse_record(payload)))
            return CommittedRecord(session_id, raw.sequence, raw.previous, sort_record(payload))
        except (subjects.BadSubject, LogUnreadable) as error:
            _tell_unreadable(raw, error)
            return None

    async def _sweep(self) -> None:
        """Finish deletions that were left half done, first those that happened while this gateway was down."""
        while True:
            try:
                if not self.swept.is_set():
                    async for raw in self._parts.control_log.read(subjects.control_fence(subjects.TOMBSTONE_KIND)):
                        self.tombstones.apply([raw])
                await self.deletion.carry_out_all()
                self.swept.set()
            except (LogError, BlobsUnavailable, NotReleased, Overloaded) as error:
                _log.warning("deletions are not finished: %s", error)
            except Exception as error:
                # A defect, or a disk that fails: deletions that are left half done are tried again.
                _log.error("the sweep of deletions failed", exc_info=error)
            await asyncio.sleep(SWEEP_INTERVAL_S)


def _tell_unreadable(raw: RawRecord, error: Exception) -> None:
    _log.error("unreadable record: %s", error, extra={"subject": raw.subject, "sequence": raw.sequence})


SESSIONS: Final = web.AppKey("efferent.sessions", SessionServices)


def sessions_of(request: web.Request) -> SessionServices:
    """The session services of the gateway that serves this request."""
    return request.app[SESSIONS]
