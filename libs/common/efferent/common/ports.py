"""Ports used by more than one service: the session log, the control log, blobs, time and ids."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from efferent.common.domain.ids import Seed, SessionId
from efferent.common.domain.record import Record, Side, StoredRecord


class LogError(Exception):
    """Base of everything that a log can answer instead of doing what was asked."""


class LogConflict(LogError):
    """Another record was appended since the state that the writer decided on. Nothing was written."""

    def __init__(self, last: int) -> None:
        """``last``: a sequence of the session that a read must reach before the next decision; 0 when not known."""
        super().__init__(f"the log has moved on to sequence {last}")
        self.last = last


class LogUnavailable(LogError):
    """The log could not be reached or is full. Whether the append was written is not known."""


class LogUnreadable(LogError):
    """A record has a shape that this release does not know."""


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Microseconds since 1970 in UTC."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back; for measuring, never for recording."""


class IdSource(Protocol):
    """Where randomness for ids comes from."""

    def seed(self) -> Seed:
        """A fresh seed for ``efferent.common.domain.ids.from_seed``."""


class SessionLog(Protocol):
    """The append-only histories of all sessions: stream ``SESSIONS``."""

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        """Append one record when the session's last sequence is still ``expected`` (0 = the session is empty).

        Returns the record's sequence. Safe to call again with the same record: an append whose acknowledgement was
        lost is found by its record id and its sequence returned.
        Raises LogConflict when the session has moved on, LogUnavailable when the log does not answer.
        """

    def read(self, session_id: SessionId, *, after: int = 0, reach: int | None = None) -> AsyncIterator[StoredRecord]:
        """Read the session's records with a sequence greater than ``after``, in order.

        The read repeats until it has seen sequence ``reach`` (None: the session's last sequence at the time of the
        call). Raises LogUnavailable when that takes too long.
        """

    async def last_sequence(self, session_id: SessionId) -> int:
        """Sequence of the session's newest record; 0 when it has none."""

    async def purge(self, session_id: SessionId) -> None:
        """Remove every record of the session; repeating it is harmless."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A committed message as it stands in a stream."""

    sequence: int
    subject: str
    payload: bytes
    previous: int
    """The ``Nats-Expected-Last-Subject-Sequence`` that its publisher sent; 0 when it sent none."""


class ControlLog(Protocol):
    """The aggregates of the control plane: stream ``CONTROL``.

    Subjects are ``control.<kind>.<id>``, or ``control.<kind>.<set>.<id>`` where the set has a rule of its own.
    """

    async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
        """Append when the last sequence of ``fence`` (default: the subject itself; may end in ``.*``) is ``expected``.

        Raises LogConflict when it is not, LogUnavailable when the log does not answer.
        """

    async def last(self, subject: str) -> RawRecord | None:
        """The newest record of exactly this subject."""

    def read(self, pattern: str, *, after: int = 0) -> AsyncIterator[RawRecord]:
        """All records whose subject matches the pattern, in order, up to the stream's end at the time of the call."""

    async def last_sequence(self) -> int:
        """Sequence of the newest record of the whole stream; 0 when it is empty."""


class Feed(Protocol):
    """Every committed record of one stream, in order and without gaps, for projections and live readers."""

    def follow(self, *, after: int) -> AsyncIterator[Sequence[RawRecord]]:
        """Yield batches of records with a sequence greater than ``after``; first the history, then live, for ever."""

    async def last_sequence(self) -> int:
        """Sequence of the newest record of the stream; 0 when it is empty."""


class Delivery(Protocol):
    """An inbound record as the brains' shared consumer delivers it."""

    @property
    def session_id(self) -> SessionId:
        """The session that the record belongs to."""

    @property
    def stored(self) -> StoredRecord:
        """The record. Raises LogUnreadable when its shape is not known."""

    async def ack(self) -> None:
        """Handled: never deliver it again."""

    async def nak(self, delay_s: float) -> None:
        """Deliver it again after the delay."""

    async def in_progress(self) -> None:
        """Being worked on: start the ack wait anew."""


class InboundConsumer(Protocol):
    """The durable consumer on ``session.*.in`` that all brains share."""

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Inbound records as they come, until the consumer is closed."""


class BlobStore(Protocol):
    """Bytes too large for a record. A key starts with the id of the session (or other owner) that it belongs to."""

    async def put(self, key: str, data: bytes) -> None:
        """Store durably under the key; storing the same key again is harmless."""

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError when there are none."""

    async def delete(self, prefix: str) -> None:
        """Delete every blob whose key starts with the prefix."""
