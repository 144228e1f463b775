"""Every committed record of a stream (or of one session), first the history, then live, in order and without gaps.

Live records come by the stream's republish subject: fast, but one can get lost, and the last one without a trace. So
each batch is checked against the position reached, what is missing is read from the log, and the log's end is compared
regularly. The buffer is bounded: a reader that falls behind reads the log instead.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection, Message
from efferent.common.jetstream.reading import StreamReader, raw_record
from efferent.common.ports import LogUnavailable, RawRecord

CHECK_INTERVAL_S: Final = 2.0
BUFFER_RECORDS_MAX: Final = 4_096
BUFFER_BYTES_MAX: Final = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


class _Continues(Protocol):
    def __call__(self, position: int, record: RawRecord) -> bool:
        """Whether the record is the very next one after the position."""


def _next_in_stream(position: int, record: RawRecord) -> bool:
    return record.sequence == position + 1


def _next_in_session(position: int, record: RawRecord) -> bool:
    return record.previous == position


class JetStreamFeed:
    """One stream; see the port ``Feed``."""

    def __init__(
        self,
        connection: Connection,
        stream: subjects.Stream,
        *,
        check_interval_s: float = CHECK_INTERVAL_S,
        buffer_records_max: int = BUFFER_RECORDS_MAX,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
    ) -> None:
        self._connection = connection
        self._pattern = subjects.all_of(stream)
        self._reader = StreamReader(connection, stream)
        self._check_interval_s = check_interval_s
        self._buffer_records_max = buffer_records_max
        self._buffer_bytes_max = buffer_bytes_max
        self._continues: _Continues = _next_in_stream

    def follow(self, *, after: int) -> AsyncGenerator[Sequence[RawRecord]]:
        """Yield batches of records with a sequence greater than ``after``, for ever; never raises LogUnavailable."""
        buffer = _Buffer(self._buffer_records_max, self._buffer_bytes_max)
        follower = _Follower(self._connection, self._reader, self._pattern, self._continues, buffer)
        return follower.follow(after, self._check_interval_s)

    async def last_sequence(self) -> int:
        """Sequence of the newest record; 0 when there is none. Raises LogUnavailable."""
        return await self._reader.last_sequence(self._pattern)


class JetStreamSessionFeed(JetStreamFeed):
    """One session: the same promises, for readers that watch a single session."""

    def __init__(
        self,
        connection: Connection,
        session_id: SessionId,
        *,
        check_interval_s: float = CHECK_INTERVAL_S,
        buffer_records_max: int = BUFFER_RECORDS_MAX,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
    ) -> None:
        super().__init__(
            connection,
            subjects.SESSIONS,
            check_interval_s=check_interval_s,
            buffer_records_max=buffer_records_max,
            buffer_bytes_max=buffer_bytes_max,
        )
        self._pattern = subjects.session_fence(session_id)
        self._continues = _next_in_session


class _Buffer:
    """Live records that nobody has taken yet. Overflow throws them away: the log has them."""

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self._records: deque[RawRecord] = deque()
        self._bytes = 0
        self._records_max = records_max
        self._bytes_max = bytes_max
        self.wake = asyncio.Event()
        self.must_check = False
        """The log's end must be compared: records were thrown away, or the connection was lost in between."""

    def deliver(self, message: Message) -> None:
        self.add(raw_record(message))

    def add(self, record: RawRecord) -> None:
        if len(self._records) >= self._records_max or self._bytes >= self._bytes_max:
            self._records.clear()
            self._bytes = 0
            self.must_check = True
        self._records.append(record)
        self._bytes += len(record.payload)
        self.wake.set()

    def connection_changed(self, connected: bool) -> None:
        if connected:
            self.must_check = True
            self.wake.set()

    def take(self) -> list[RawRecord]:
        taken = list(self._records)
        self._records.clear()
        self._bytes = 0
        self.wake.clear()
        return taken


class _Follower:
    def __init__(
        self,
        connection: Connection,
        reader: StreamReader,
        pattern: str,
        continues: _Continues,
        buffer: _Buffer,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._pattern = pattern
        self._continues = continues
        self._buffer = buffer

    async def follow(self, after: int, check_interval_s: float) -> AsyncGenerator[Sequence[RawRecord]]:
        subscription = await self._connection.subscribe(subjects.live(self._pattern), self._buffer.deliver)
        stop_listening = self._connection.on_change(self._buffer.connection_changed)
        position = after
        self._buffer.must_check = True
        self._buffer.wake.set()
        try:
            while True:
                try:
                    async with asyncio.timeout(check_interval_s):
                        await self._buffer.wake.wait()
                except TimeoutError:
                    self._buffer.must_check = True
                live = self._contiguous(position, self._buffer.take())
                if live is None or self._buffer.must_check:
                    async for page in self._missing(position):
                        position = page[-1].sequence
                        yield page
                elif live:
                    position = live[-1].sequence
                    yield live
        finally:
            stop_listening()
            await subscription.end()

    def _contiguous(self, position: int, records: list[RawRecord]) -> list[RawRecord] | None:
        """The records beyond the position; None when something is missing before or between them."""
        fresh: list[RawRecord] = []
        for record in records:
            if record.sequence <= position:
                continue
            if not self._continues(position, record):
                return None
            fresh.append(record)
            position = record.sequence
        return fresh

    async def _missing(self, position: int) -> AsyncGenerator[list[RawRecord]]:
        """Read up to the log's end; tries again for ever while the log does not answer."""
        deadline = api.Deadline.never()
        while True:
            try:
                self._buffer.must_check = False
                async for page in self._reader.pages(self._pattern, after=position, reach=None):
                    position = page[-1].sequence
                    yield page
                return
            except LogUnavailable as error:
                _log.warning("a feed cannot read the log: %s", error, extra={"pattern": self._pattern})
                await deadline.pause(self._connection, error)
