"""Live readers: every committed record goes from the gateway's one feed to the streams that watch its session.

The hub never waits for a reader. Each reader has a mailbox with a limit; a reader that lets it overflow reads the log
from where it stopped and comes back to live: nothing is lost and nothing comes twice. A session's own stream and its
primary thread's stream show the same: the events of entries without a thread, which include all that concerns the
session as a whole. A child thread's stream shows that thread's entries only.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.ports import SessionLog
from efferent.gateway.errors import Overloaded
from efferent.gateway.previews import PreviewHold
from efferent.gateway.public_events import (
    BEFORE_ALL,
    Position,
    PreviewFrame,
    PublicEvent,
    events_of_stored,
    frame,
    join,
    parse_preview,
)

MAILBOX_BYTES_MAX: Final = 1024 * 1024
"""Bytes that wait for one reader before it counts as behind."""
CATCH_UP_CHUNK_BYTES: Final = 64 * 1024
"""Bytes read from the log that go out in one write."""
READERS_MAX: Final = 10_000
"""Open streams of one gateway."""

HEARTBEAT: Final = b": heartbeat\n\n"
_DELETED: Final = "session.deleted"

Unsubscribe = Callable[[], Awaitable[None]]


class PreviewSource(Protocol):
    """Where unpersisted previews come from."""

    async def subscribe(self, session_id: SessionId, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Call ``receive`` with each payload published for the session from now on."""


class TooManyReaders(Overloaded):
    """The gateway serves as many open streams as it can."""


class Reader:
    """One open stream: what is to be written next, and how far it has come."""

    def __init__(
        self,
        hub: "LiveHub",
        session_id: SessionId,
        thread: str | None,
        previews: frozenset[str],
        mailbox_bytes_max: int,
    ) -> None:
        self.session_id = session_id
        self.thread = thread
        self.previews = previews
        self.opened_at = 0
        """Sequence of the session's last record when the stream was opened."""
        self._hub = hub
        self._mailbox: list[bytes] = []
        self._mailbox_bytes = 0
        self._mailbox_bytes_max = mailbox_bytes_max
        self._taken = BEFORE_ALL
        self._put = BEFORE_ALL
        self._read_to = 0
        self._is_behind = False
        self._is_ended = False
        self._started: set[str] = set()
        self._open: set[str] = set()
        self._wake = asyncio.Event()

    def start_after(self, sequence: int) -> None:
        """Show what comes after this sequence of the session, live only."""
        self.opened_at = self._read_to = sequence
        self._mailbox.clear()
        self._mailbox_bytes = 0
        self._is_behind = self._hub.passed(self.session_id) > sequence
        self._taken = self._put = Position(sequence, 1 << 30)

    def resume_after(self, position: Position, opened_at: int) -> None:
        """Show everything after this position: first from the log, then live."""
        self.opened_at = opened_at
        self._mailbox.clear()
        self._mailbox_bytes = 0
        self._taken = self._put = position
        self._read_to = max(0, position.sequence - 1)
        self._is_behind = True

    def put(self, sequence: int, events: Sequence[tuple[PublicEvent, bytes]]) -> None:
        """The hub's side: a record passed."""
        if self._is_behind or self._is_ended or sequence <= self._read_to:
            return
        for event, data in events:
            if event.thread != self.thread and event.type != _DELETED:
                continue
            self._started.discard(event.id)
            self._open.discard(event.id)
            if event.position > self._put:
                self._push(data)
                self._put = event.position
            if event.type == _DELETED:
                self._is_ended = True
                self._wake.set()

    def put_preview(self, preview: PreviewFrame) -> None:
        """The hub's side: a preview may go out."""
        if self._is_behind or preview.thread != self.thread or preview.after <= self.opened_at:
            return
        if preview.starts is not None:
            if preview.starts not in self.previews or preview.event_id in self._started:
                return
            self._started.add(preview.event_id)
            self._open.add(preview.event_id)
        elif preview.event_id not in self._open:
            return
        self._push(preview.frame)

    def end(self) -> None:
        """Nothing more comes; what waits is still written."""
        self._is_ended = True
        self._wake.set()

    async def chunks(self, silence_s: float) -> AsyncGenerator[bytes]:
        """What to write, as it comes; a heartbeat after each silence. Ends when the stream does.

        Raises LogUnavailable when a reader that is behind cannot read the log.
        """
        while True:
            if self._is_behind:
                async for chunk in self._catch_up():
                    yield chunk
            self._wake.clear()
            if self._mailbox:
                chunk = join(self._mailbox)
                self._mailbox = []
                self._mailbox_bytes = 0
                self._taken = self._put
                yield chunk
                continue
            if self._is_ended and not self._is_behind:
                return
            if self._is_behind:
                continue
            try:
                async with asyncio.timeout(silence_s):
                    await self._wake.wait()
            except TimeoutError:
                yield HEARTBEAT

    def _push(self, data: bytes) -> None:
        if self._mailbox_bytes + len(data) > self._mailbox_bytes_max and self._mailbox:
            self._fall_behind()
            return
        if not self._is_behind:
            self._mailbox.append(data)
            self._mailbox_bytes += len(data)
            self._wake.set()

    def _fall_behind(self) -> None:
        self._is_behind = True
        self._mailbox = []
        self._mailbox_bytes = 0
        self._open.clear()
        self._wake.set()

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """Write from the log until the hub has passed nothing that was not read, then be live again."""
        self._read_to = max(self._read_to, self._taken.sequence - 1)
        while True:
            passed = self._hub.passed(self.session_id)
            async for chunk in self._history(reach=passed or None):
                yield chunk
            if not self._is_ended and self._read_to < passed:
                # Deleted and purged while this reader was behind: the end is all that is left to tell.
                self._is_ended = True
                if (farewell := self._hub.farewell(self.session_id)) is not None:
                    yield farewell
            if self._is_ended or self._hub.passed(self.session_id) <= self._read_to:
                self._put = self._taken
                self._is_behind = False
                return

    async def _history(self, *, reach: int | None) -> AsyncIterator[bytes]:
        """What the log holds after the point that this reader has come to, in writes of a good size."""
        waiting: list[bytes] = []
        waiting_bytes = 0
        async for stored in self._hub.log.read(self.session_id, after=self._read_to, reach=reach):
            for event in events_of_stored(stored):
                if event.position <= self._taken or (event.thread != self.thread and event.type != _DELETED):
                    continue
                waiting.append(frame(event))
                waiting_bytes += len(waiting[-1])
                self._taken = event.position
                self._is_ended = self._is_ended or event.type == _DELETED
            self._read_to = stored.sequence
            if waiting_bytes > CATCH_UP_CHUNK_BYTES:
                yield join(waiting)
                waiting, waiting_bytes = [], 0
        if waiting:
            yield join(waiting)


@dataclass(slots=True)
class _Watch:
    """A session that has readers."""

    readers: dict[Reader, None] = field(default_factory=dict)
    passed: int = 0
    farewell: bytes | None = None
    """The frame of ``session.deleted``, once it has passed."""
    hold: PreviewHold | None = None
    unsubscribe: Unsubscribe | None = None


class LiveHub:
    """Hands records to readers. Everything but opening and closing a reader happens without waiting."""

    def __init__(
        self,
        log: SessionLog,
        previews: PreviewSource | None = None,
        *,
        mailbox_bytes_max: int = MAILBOX_BYTES_MAX,
        readers_max: int = READERS_MAX,
    ) -> None:
        self.log = log
        self._previews = previews
        self._mailbox_bytes_max = mailbox_bytes_max
        self._readers_max = readers_max
        self._watches: dict[SessionId, _Watch] = {}
        self._readers = 0

    def is_watched(self, session_id: SessionId) -> bool:
        """Whether anybody would see a record of the session."""
        return session_id in self._watches

    def passed(self, session_id: SessionId) -> int:
        """Sequence of the last record of the session that passed while it was watched; 0 when none did."""
        watch = self._watches.get(session_id)
        return watch.passed if watch else 0

    def farewell(self, session_id: SessionId) -> bytes | None:
        """The last frame of a watched session that was deleted."""
        watch = self._watches.get(session_id)
        return watch.farewell if watch else None

    def record(self, session_id: SessionId, sequence: int, events: Sequence[PublicEvent]) -> None:
        """A committed record passes: called for each one, in the order of the log."""
        watch = self._watches.get(session_id)
        if watch is None or sequence <= watch.passed:
            return
        watch.passed = sequence
        framed = [(event, frame(event)) for event in events]
        if framed:
            if events[-1].type == _DELETED:
                watch.farewell = framed[-1][1]
            for reader in watch.readers:
                reader.put(sequence, framed)
        if watch.hold is not None:
            for preview in watch.hold.record_passed(sequence, events):
                _show(watch, preview)

    def session_gone(self, session_id: SessionId, last: PublicEvent) -> None:
        """The session was deleted and its last record may never pass: its tombstone repeats it."""
        self.record(session_id, last.position.sequence, (last,))

    async def open(self, session_id: SessionId, thread: str | None, previews: frozenset[str]) -> Reader:
        """Register a reader: from now on no record of the session escapes it. Raises TooManyReaders."""
        if self._readers >= self._readers_max:
            raise TooManyReaders
        self._readers += 1
        watch = self._watches.setdefault(session_id, _Watch())
        reader = Reader(self, session_id, thread, previews, self._mailbox_bytes_max)
        watch.readers[reader] = None
        if previews and self._previews is not None and watch.hold is None:
            watch.hold = PreviewHold()
            try:
                watch.unsubscribe = await self._previews.subscribe(session_id, lambda data: _receive(watch, data))
            except BaseException:
                watch.hold = None
                await self.close(reader)
                raise
        return reader

    async def close(self, reader: Reader) -> None:
        """The reader is gone; closing it again is harmless."""
        watch = self._watches.get(reader.session_id)
        if watch is None or reader not in watch.readers:
            return
        del watch.readers[reader]
        self._readers -= 1
        if not watch.readers:
            del self._watches[reader.session_id]
        if watch.unsubscribe is not None and not any(other.previews for other in watch.readers):
            unsubscribe, watch.unsubscribe, watch.hold = watch.unsubscribe, None, None
            await unsubscribe()

    def end_all(self) -> None:
        """The gateway drains: every stream ends after what it has still to write."""
        for watch in self._watches.values():
            for reader in watch.readers:
                reader.end()


def _receive(watch: _Watch, payload: bytes) -> None:
    preview = parse_preview(payload)
    if preview is None or watch.hold is None:
        return
    for ready in watch.hold.arrive(preview):
        _show(watch, ready)


def _show(watch: _Watch, preview: PreviewFrame) -> None:
    for reader in watch.readers:
        reader.put_preview(preview)
