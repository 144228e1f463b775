"""The session log on JetStream: records in, records out, large ones by claim check."""

from collections.abc import AsyncGenerator

from efferent.common import codec
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record, Side, StoredRecord
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.appending import Append, Appender
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import PAGE_RECORDS, StreamReader
from efferent.common.ports import BlobStore, BlobsUnavailable, LogUnavailable, LogUnreadable, RawRecord


class RecordPayloads:
    """Turns payloads into records; fetches the blob that a payload only stands for."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def resolve(self, payload: bytes) -> bytes:
        """The encoded record itself. Raises LogUnreadable when its blob is gone, LogUnavailable."""
        key = codec.claimed_key(payload)
        if key is None:
            return payload
        try:
            return await self._blobs.get(key)
        except KeyError as error:
            raise LogUnreadable(f"there is no blob {key}") from error
        except BlobsUnavailable as error:
            raise LogUnavailable(str(error)) from error

    async def stored(self, raw: RawRecord) -> StoredRecord:
        """Decode a message of ``SESSIONS``. Raises LogUnreadable."""
        return stored_record(raw, await self.resolve(raw.payload))


def stored_record(raw: RawRecord, payload: bytes) -> StoredRecord:
    """The record whose encoded form is ``payload``, at the place of ``raw``. Raises LogUnreadable."""
    try:
        _, side = subjects.parse_session(raw.subject)
    except subjects.BadSubject as error:
        raise LogUnreadable(str(error)) from error
    record = codec.decode(payload)
    return StoredRecord(sequence=raw.sequence, previous=raw.previous, side=side, record=record)


class JetStreamSessionLog:
    """Stream ``SESSIONS``; see the port ``SessionLog``."""

    def __init__(
        self,
        connection: Connection,
        blobs: BlobStore,
        *,
        page_records: int = PAGE_RECORDS,
        deadline_s: float = api.DEADLINE_S,
    ) -> None:
        self._connection = connection
        self._blobs = blobs
        self._payloads = RecordPayloads(blobs)
        self._reader = StreamReader(connection, subjects.SESSIONS, page_records=page_records, deadline_s=deadline_s)
        self._appender = Appender(connection, self._reader, deadline_s=deadline_s)

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        """Append one record; see the port."""
        payload = codec.encode(record)
        if len(payload) > codec.RECORD_BYTES_MAX:
            key, claim = codec.claim(session_id, record)
            try:
                await self._blobs.put(key, payload)
            except BlobsUnavailable as error:
                raise LogUnavailable(str(error)) from error
            payload = claim
        return await self._appender.append(
            Append(
                subject=subjects.session(session_id, side),
                payload=payload,
                message_id=record.id,
                fence=subjects.session_fence(session_id),
                expected=expected,
            )
        )

    async def read(
        self, session_id: SessionId, *, after: int = 0, reach: int | None = None
    ) -> AsyncGenerator[StoredRecord]:
        """The session's records in order; see the port. Raises LogUnavailable, LogUnreadable."""
        pattern = subjects.session_fence(session_id)
        async for page in self._reader.pages(pattern, after=after, reach=reach):
            for raw in page:
                yield await self._payloads.stored(raw)

    async def claimed_keys(self, session_id: SessionId) -> AsyncGenerator[str]:
        """Keys of the blobs that records of the session stand for; the blobs are not read. Raises LogUnavailable."""
        async for page in self._reader.pages(subjects.session_fence(session_id), after=0, reach=None):
            for raw in page:
                if (key := codec.claimed_key(raw.payload)) is not None:
                    yield key

    async def last_sequence(self, session_id: SessionId) -> int:
        """Sequence of the session's newest record; 0 when it has none. Raises LogUnavailable."""
        return await self._reader.last_sequence(subjects.session_fence(session_id))

    async def purge(self, session_id: SessionId) -> None:
        """Remove every record of the session. Raises LogUnavailable."""
        try:
            await api.call(
                self._connection,
                f"STREAM.PURGE.{subjects.SESSIONS}",
                {"filter": subjects.session_fence(session_id)},
            )
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error
