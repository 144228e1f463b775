"""A session's earlier records, read from the log when an event depends on them."""

from efferent.common.domain import webhook_events
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import StoredRecord
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.jetstream.session_log import RecordPayloads
from efferent.common.ports import BlobStore, SessionLog


class LoggedHistory:
    """See ``emission.SessionHistory``."""

    def __init__(self, connection: Connection, sessions: SessionLog, blobs: BlobStore) -> None:
        self._reader = StreamReader(connection, subjects.SESSIONS)
        self._payloads = RecordPayloads(blobs)
        self._sessions = sessions

    async def first(self, session_id: SessionId) -> StoredRecord | None:
        """The session's first record; None when it is gone. Raises LogUnavailable, LogUnreadable."""
        found = await self._reader.next(subjects.session_fence(session_id), after=0)
        return await self._payloads.stored(found.raw) if found is not None else None

    async def has_stopped_at(self, session_id: SessionId, amount: str, *, before: int) -> bool:
        """Whether a record before this sequence has the session stop at this budget. Raises LogUnavailable."""
        async for stored in self._sessions.read(session_id, reach=before):
            if stored.sequence >= before:
                return False
            budget = webhook_events.reached_budget(stored.record)
            if budget is not None and budget.max_list_cost.amount == amount:
                return True
        return False
