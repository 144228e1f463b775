"""Folded sessions kept between turns, so that a warm turn reads nothing."""

from collections import OrderedDict
from dataclasses import dataclass

from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import RecordId, SessionId
from efferent.common.domain.record import Record, StoredRecord
from efferent.common.domain.state import SessionState
from efferent.common.domain.transcript import EMPTY_TRANSCRIPT, Transcript, extend_all
from efferent.common.ports import SessionLog


@dataclass(frozen=True, slots=True)
class FoldedSession:
    """A session folded up to a sequence."""

    state: SessionState | None = None
    transcript: Transcript = EMPTY_TRANSCRIPT
    sequence: int = 0
    record_id: RecordId | None = None
    """Id of the last record."""
    events: int = 0
    """How many events the session has had."""

    def advanced(self, stored: StoredRecord) -> "FoldedSession":
        """With the next record folded in."""
        return self.followed_by(stored.record, fold(self.state, (stored.record,)), stored.sequence)

    def followed_by(self, record: Record, state: SessionState | None, sequence: int) -> "FoldedSession":
        """With the next record, whose state is known already."""
        return FoldedSession(
            state=state,
            transcript=extend_all(self.transcript, record),
            sequence=sequence,
            record_id=record.id,
            events=self.events + len(record.entries),
        )


async def caught_up(folded: FoldedSession, log: SessionLog, session_id: SessionId, reach: int | None) -> FoldedSession:
    """With every record folded in that the log holds up to ``reach`` (None: up to its end)."""
    async for stored in log.read(session_id, after=folded.sequence, reach=reach):
        folded = folded.advanced(stored)
    return folded


class SessionCache:
    """The most recently used folded sessions."""

    def __init__(self, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: OrderedDict[SessionId, FoldedSession] = OrderedDict()

    def get(self, session_id: SessionId) -> FoldedSession:
        """The session as far as it is known here; an empty one when it is not."""
        folded = self._sessions.get(session_id)
        if folded is None:
            return FoldedSession()
        self._sessions.move_to_end(session_id)
        return folded

    def put(self, session_id: SessionId, folded: FoldedSession) -> None:
        """Keep the session; sessions that are over are dropped."""
        if folded.state is None or folded.state.deleted:
            self._sessions.pop(session_id, None)
            return
        self._sessions[session_id] = folded
        self._sessions.move_to_end(session_id)
        while len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)

    def drop(self, session_id: SessionId) -> None:
        """Forget what is known of the session."""
        self._sessions.pop(session_id, None)
