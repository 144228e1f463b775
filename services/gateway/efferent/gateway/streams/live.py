"""Live readers: every committed record goes from the gateway's one feed to the streams that watch its session.

The hub never waits for a reader. Each reader has a mailbox with a limit; a reader that lets it overflow reads the log
from where it stopped and comes back to live: nothing is lost and nothing comes twice. A session's own stream and its
primary thread's stream show the same: the events of entries without a thread, which include all that concerns the
session as a whole. A child thread's stream shows that thread's entries only.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.ports import SessionLog
from efferent.gateway.errors import Overloaded
from efferent.gateway.sessions.public_events import DELETED, PreviewFrame, PublicEvent, frame, parse_preview
from efferent.gateway.streams.live_reader import Reader
from efferent.gateway.streams.previews import PreviewHold

MAILBOX_BYTES_MAX: Final = 1024 * 1024
"""Bytes that wait for one reader before it counts as behind."""
READERS_MAX: Final = 10_000
"""Open streams of one gateway."""


Unsubscribe = Callable[[], Awaitable[None]]


class PreviewSource(Protocol):
    """Where unpersisted previews come from."""

    async def subscribe(self, session_id: SessionId, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Call ``receive`` with each payload published for the session from now on."""


class TooManyReaders(Overloaded):
    """The gateway serves as many open streams as it can."""


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
            if events[-1].type == DELETED:
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
    for line in payload.splitlines():
        preview = parse_preview(line)
        if preview is None or watch.hold is None:
            return
        for ready in watch.hold.arrive(preview):
            _show(watch, ready)


def _show(watch: _Watch, preview: PreviewFrame) -> None:
    for reader in watch.readers:
        reader.put_preview(preview)
