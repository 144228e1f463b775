"""Folded states in memory, shared by the projection and by those who execute commands."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from efferent.common.domain.ids import SessionId
from efferent.gateway.sessions.projected import Folded

STATES_MAX: Final = 4_096
"""Folded states kept in memory beyond those that wait to be written."""


class SessionStates:
    """Folded states in memory: the newest that this process knows of each session."""

    def __init__(self, *, states_max: int = STATES_MAX) -> None:
        self._states: OrderedDict[SessionId, Folded] = OrderedDict()
        self._states_max = states_max
        self._unwritten: dict[SessionId, int] = {}

    def get(self, session_id: SessionId) -> Folded | None:
        """The state, or None when it is not in memory."""
        folded = self._states.get(session_id)
        if folded is not None:
            self._states.move_to_end(session_id)
        return folded

    def put(self, session_id: SessionId, folded: Folded) -> None:
        """Remember a state unless a newer one is known."""
        known = self._states.get(session_id)
        if known is None or known.sequence < folded.sequence:
            self._states[session_id] = folded
        self._states.move_to_end(session_id)
        self._evict()

    def forget(self, session_id: SessionId) -> None:
        """The session is gone."""
        self._states.pop(session_id, None)
        self._unwritten.pop(session_id, None)

    def wrote(self, states: Iterable[tuple[SessionId, int]]) -> None:
        """These states, up to these sequences, are in the file now."""
        for session_id, sequence in states:
            if self._unwritten.get(session_id, sequence + 1) <= sequence:
                del self._unwritten[session_id]
        self._evict()

    def will_write(self, session_id: SessionId, sequence: int) -> None:
        """The state of this sequence is on its way to the file."""
        self._unwritten[session_id] = sequence

    def _evict(self) -> None:
        excess = len(self._states) - len(self._unwritten) - self._states_max
        if excess <= 0:
            return
        oldest = (session_id for session_id in self._states if session_id not in self._unwritten)
        for session_id in list(islice(oldest, excess)):
            del self._states[session_id]
