"""One reader of a session's live events: its mailbox, how far it has come, and how it catches up from the log."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.ports import SessionLog
from efferent.gateway.sessions.public_events import (
    BEFORE_ALL,
    DELETED,
    Position,
    PreviewFrame,
    PublicEvent,
    events_of_stored,
    frame,
    join,
)

CATCH_UP_CHUNK_BYTES: Final = 64 * 1024
"""Bytes read from the log that go out in one write."""
HEARTBEAT: Final = b": heartbeat\n\n"


class Source(Protocol):
    """Where a reader's events come from."""

    @property
    def log(self) -> SessionLog:
        """The log that a reader which is behind reads."""

    def passed(self, session_id: SessionId) -> int:
        """Sequence of the last record of the session that passed while it was watched; 0 when none did."""

    def farewell(self, session_id: SessionId) -> bytes | None:
        """The last frame of a watched session that was deleted."""


class Reader:
    """One open stream: what is to be written next, and how far it has come."""

    def __init__(
        self,
        source: Source,
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
        self._source = source
        self._mailbox: list[bytes] = []
        self._mailbox_bytes = 0
        self._mailbox_bytes_max = mailbox_bytes_max
        self._taken = BEFORE_ALL
        self._put = BEFORE_ALL
        self._read_to = 0
        self._is_behind = False
        self._is_ended = False
        self._is_cut = False
        self._started: set[str] = set()
        self._open: set[str] = set()
        self._wake = asyncio.Event()

    def start_after(self, sequence: int) -> None:
        """Show what comes after this sequence of the session, live only."""
        self.opened_at = self._read_to = sequence
        self._mailbox.clear()
        self._mailbox_bytes = 0
        self._is_behind = self._source.passed(self.session_id) > sequence
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
            if event.thread != self.thread and event.type != DELETED:
                continue
            self._started.discard(event.id)
            self._open.discard(event.id)
            if event.position > self._put:
                self._push(data)
                self._put = event.position
            if event.type == DELETED:
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

    def cut(self) -> None:
        """Nothing more comes, and what waits is dropped: whoever reads may not see it any more."""
        self._is_ended = self._is_cut = True
        self._mailbox = []
        self._wake.set()

    @property
    def is_cut(self) -> bool:
        """Whether the stream was taken away from its reader."""
        return self._is_cut

    async def chunks(self, silence_s: float) -> AsyncGenerator[bytes]:
        """What to write, as it comes; a heartbeat after each silence. Ends when the stream does.

        Raises LogUnavailable when a reader that is behind cannot read the log.
        """
        while not self._is_cut:
            if self._is_behind:
                async for chunk in self._catch_up():
                    if self._is_cut:
                        return
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
            passed = self._source.passed(self.session_id)
            async for chunk in self._history(reach=passed or None):
                yield chunk
            if not self._is_ended and self._read_to < passed:
                # Deleted and purged while this reader was behind: the end is all that is left to tell.
                self._is_ended = True
                if (farewell := self._source.farewell(self.session_id)) is not None:
                    yield farewell
            if self._is_ended or self._source.passed(self.session_id) <= self._read_to:
                self._put = self._taken
                self._is_behind = False
                return

    async def _history(self, *, reach: int | None) -> AsyncIterator[bytes]:
        """What the log holds after the point that this reader has come to, in writes of a good size."""
        waiting: list[bytes] = []
        waiting_bytes = 0
        async for stored in self._source.log.read(self.session_id, after=self._read_to, reach=reach):
            for event in events_of_stored(stored):
                if event.position <= self._taken or (event.thread != self.thread and event.type != DELETED):
                    continue
                waiting.append(frame(event))
                waiting_bytes += len(waiting[-1])
                self._taken = event.position
                self._is_ended = self._is_ended or event.type == DELETED
            self._read_to = stored.sequence
            if waiting_bytes > CATCH_UP_CHUNK_BYTES:
                yield join(waiting)
                waiting, waiting_bytes = [], 0
        if waiting:
            yield join(waiting)
