"""In-memory twins of both logs and the feed. They pass the same contract suite as the real ones."""

import hashlib
from collections.abc import AsyncGenerator, Sequence

from efferent.common import codec
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record, Side, StoredRecord
from efferent.common.ports import BlobStore, LogUnavailable, LogUnreadable, RawRecord
from efferent.common.testing.in_memory_stream import InMemoryStream


class InMemorySessionLog:
    """See the port ``SessionLog``."""

    def __init__(self, stream: InMemoryStream, blobs: BlobStore) -> None:
        self._stream = stream
        self._blobs = blobs

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        """Append one record. Raises LogConflict."""
        payload = codec.encode(record)
        if len(payload) > codec.RECORD_BYTES_MAX:
            key, claim = codec.claim(session_id, record)
            await self._blobs.put(key, payload)
            payload = claim
        return self._stream.append(
            f"session.{session_id}.{side}",
            payload,
            message_id=record.id,
            fence=f"session.{session_id}.*",
            expected=expected,
        )

    async def read(
        self, session_id: SessionId, *, after: int = 0, reach: int | None = None
    ) -> AsyncGenerator[StoredRecord]:
        """The session's records in order. Raises LogUnavailable for a sequence that the log has not reached."""
        if reach is not None and reach > self._stream.end:
            raise LogUnavailable(f"the log has not reached {reach}")
        for kept in self._stream.matching(f"session.{session_id}.*", after=after):
            yield await stored_record(kept.raw, self._blobs)

    async def claimed_keys(self, session_id: SessionId) -> AsyncGenerator[str]:
        """Keys of the blobs that records of the session stand for."""
        for kept in self._stream.matching(f"session.{session_id}.*"):
            if (key := codec.claimed_key(kept.raw.payload)) is not None:
                yield key

    async def last_sequence(self, session_id: SessionId) -> int:
        """Sequence of the session's newest record; 0 when it has none."""
        newest = self._stream.last(f"session.{session_id}.*")
        return newest.raw.sequence if newest is not None else 0

    async def purge(self, session_id: SessionId) -> None:
        """Remove every record of the session."""
        self._stream.purge(f"session.{session_id}.*")


async def stored_record(raw: RawRecord, blobs: BlobStore) -> StoredRecord:
    """Decode a record, its blob fetched where it has one. Raises LogUnreadable."""
    key = codec.claimed_key(raw.payload)
    try:
        record = codec.decode(raw.payload if key is None else await blobs.get(key))
    except KeyError as error:
        raise LogUnreadable(f"there is no blob {key}") from error
    side: Side = "in" if raw.subject.endswith(".in") else "out"
    return StoredRecord(sequence=raw.sequence, previous=raw.previous, side=side, record=record)


class InMemoryControlLog:
    """See the port ``ControlLog``."""

    def __init__(self, stream: InMemoryStream) -> None:
        self._stream = stream

    async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
        """Append one payload. Raises LogConflict."""
        fence = fence or subject
        message_id = hashlib.sha256(b"\x1f".join((subject.encode(), payload, str(expected).encode()))).hexdigest()
        return self._stream.append(subject, payload, message_id=message_id, fence=fence, expected=expected)

    async def last(self, subject: str) -> RawRecord | None:
        """The newest record of the subject, or of all that a pattern matches."""
        newest = self._stream.last(subject)
        return newest.raw if newest is not None else None

    async def next(self, subject: str, *, after: int) -> RawRecord | None:
        """The first record of the subject after a sequence."""
        following = self._stream.matching(subject, after=after)
        return following[0].raw if following else None

    async def read(self, pattern: str, *, after: int = 0) -> AsyncGenerator[RawRecord]:
        """All records whose subject matches, in order, up to now."""
        for kept in self._stream.matching(pattern, after=after):
            yield kept.raw

    async def erase(self, sequence: int) -> None:
        """Remove one record."""
        self._stream.erase(sequence)

    async def last_sequence(self) -> int:
        """Sequence of the newest record of the stream; 0 when it is empty."""
        newest = self._stream.last(">")
        return newest.raw.sequence if newest is not None else 0


class InMemoryFeed:
    """See the port ``Feed``; ``pattern`` narrows it to one session."""

    def __init__(self, stream: InMemoryStream, *, pattern: str = ">") -> None:
        self._stream = stream
        self._pattern = pattern

    async def follow(self, *, after: int) -> AsyncGenerator[Sequence[RawRecord]]:
        """Yield batches, first the history, then live, for ever."""
        changed = self._stream.watch()
        position = after
        try:
            while True:
                changed.clear()
                batch = [kept.raw for kept in self._stream.matching(self._pattern, after=position)]
                if batch:
                    position = batch[-1].sequence
                    yield batch
                else:
                    await changed.wait()
        finally:
            self._stream.unwatch(changed)

    async def last_sequence(self) -> int:
        """Sequence of the newest record; 0 when there is none."""
        newest = self._stream.last(self._pattern)
        return newest.raw.sequence if newest is not None else 0
