"""Ports used by more than one service: the session log, the control log, blobs, time and ids."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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
        """Remove every record of the session; repeating it is harmless.

        A later append knows of it at once. A read may still show what was removed for a moment, where replicas lag.
        """


class RawRecord(NamedTuple):
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
        """The newest record of the subject, or of all that a pattern matches."""

    async def next(self, subject: str, *, after: int) -> RawRecord | None:
        """The first record of exactly this subject after a sequence; None when there is none."""

    def read(self, pattern: str, *, after: int = 0) -> AsyncIterator[RawRecord]:
        """All records whose subject matches the pattern, in order, up to the stream's end at the time of the call."""

    async def erase(self, sequence: int) -> None:
        """Overwrite one record and remove it, for what must not be kept; repeating it is harmless.

        A read may still show it for a moment, where replicas lag.
        Never the newest record of its subject: that one is the aggregate. Raises LogUnavailable.
        """

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


class BlobsUnavailable(OSError):
    """The blob store could not be reached, refused or is full. Whether a blob was stored is not known."""


@dataclass(frozen=True, slots=True)
class BlobDigest:
    """What a blob turned out to be while it was stored."""

    size_bytes: int
    sha256: str
    """Hexadecimal, lower-case."""


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A blob as a listing shows it."""

    key: str
    size_bytes: int
    stored_us: int
    """When it was stored or copied, in microseconds since 1970 by the store's own clock."""


class BlobStore(Protocol):
    """Bytes too large for a record. A key starts with the id of the session (or other owner) that it belongs to.

    A blob is whole and durable, or it is not there. Every method raises BlobsUnavailable when the store does not answer
    or is full, and ValueError for a key that is no key.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Store durably under the key; storing the same key again is harmless."""

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobDigest:
        """Store what the chunks add up to, holding only a few of them at a time.

        When ``chunks`` raises, nothing is stored and the exception is passed on.
        """

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError when there are none."""

    def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """The bytes in chunks of bounded size. Raises KeyError before the first one when there are none."""

    async def copy(self, source: str, target: str) -> None:
        """Store the bytes of one key under another too; where the store can, both share them. Raises KeyError."""

    async def delete(self, prefix: str) -> None:
        """Delete every blob whose key starts with the prefix."""

    def entries(self, prefix: str = "") -> AsyncGenerator[BlobEntry]:
        """Every blob whose key starts with the prefix (empty, or a key, or folders that end with ``/``), in any order.

        One that is stored or deleted meanwhile may be there or not.
        """

    async def check(self) -> None:
        """Return when blobs can be stored now. Raises BlobsUnavailable, saying what is wrong."""

    async def sweep_drafts(self) -> int:
        """Remove what writers that died left half stored, where the store does not do it itself; how many."""


class DataKeys(Protocol):
    """Wrapped keys of secrets, each under its owner. Deleting one destroys what it encrypted."""

    async def put(self, owner: str, key_id: str, wrapped: bytes) -> None:
        """Keep a key unless there is one under this id already. Raises LogUnavailable."""

    async def replace(self, owner: str, key_id: str, wrapped: bytes) -> None:
        """Keep another form of a key that is still there; one that was deleted stays so. Raises LogUnavailable."""

    async def get(self, owner: str, key_id: str) -> bytes | None:
        """The key; None when there is none. Raises LogUnavailable."""

    async def ids(self, owner: str) -> Sequence[str]:
        """The ids of an owner's keys. Raises LogUnavailable."""

    async def owners(self) -> Sequence[str]:
        """Everybody who has keys. Raises LogUnavailable."""

    async def delete(self, owner: str, key_id: str) -> None:
        """Destroy a key; repeating it is harmless. Raises LogUnavailable."""


class Leases(Protocol):
    """Who works on something now: one holder at a time, until it gives up or its time is over."""

    async def take(self, name: str, holder: str, *, ttl_s: int) -> int | None:
        """Take the lease for this many seconds; the ticket gives it up. None when somebody has it.

        ``holder`` is unique for each try. Raises LogUnavailable.
        """

    async def give_up(self, ticket: int) -> None:
        """End a lease that ``take`` gave. Never raises."""
