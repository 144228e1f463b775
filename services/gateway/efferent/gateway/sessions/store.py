"""Sessions as aggregates: load the state, decide a command, append, and look again when somebody else was quicker.

The state in memory is used as it is on the way to an append, since the fence tells when it is stale; before a refusal
and before an answer that shows the state it is compared with the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from efferent.common.domain.commands import ClientCommand
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Decision, Stamp
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.domain.record import Record
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.session_resource import FileResource
from efferent.common.domain.state import SessionState
from efferent.common.ports import Clock, IdSource, LogConflict, SessionLog
from efferent.gateway.errors import NotFound, Overloaded
from efferent.gateway.sessions.projected import Folded
from efferent.gateway.sessions.projection import SessionProjection

EXECUTE_DEADLINE_S: Final = 5.0
NOT_FOUND_TEXT: Final = "Session not found."


@dataclass(frozen=True, slots=True)
class Executed:
    """What a command led to: the decision, and the state with the sequence of its last record."""

    decision: Decision
    sequence: int


OnWritten = Callable[[SessionState, Record, int], Awaitable[None]]
"""Told of each record that was written here: the state after it, the record, and its sequence. It never raises."""


class SessionStore:
    """Loads sessions and executes commands on them."""

    def __init__(
        self,
        log: SessionLog,
        projection: SessionProjection,
        clock: Clock,
        ids: IdSource,
        *,
        deadline_s: float = EXECUTE_DEADLINE_S,
    ) -> None:
        self._log = log
        self._projection = projection
        self._clock = clock
        self._ids = ids
        self._deadline_s = deadline_s
        self._on_written: OnWritten | None = None
        self._locks: WeakValueDictionary[SessionId, asyncio.Lock] = WeakValueDictionary()

    def tell(self, on_written: OnWritten) -> None:
        """Tell somebody of each record that is written here, before the request that wrote it is answered."""
        self._on_written = on_written

    async def load(self, session_id: SessionId, workspace_id: WorkspaceId) -> Folded:
        """The session as the log has it now. Raises NotFound when it is gone or another workspace's."""
        return _owned(await self._fresh(session_id), workspace_id)

    async def known(self, session_id: SessionId, workspace_id: WorkspaceId) -> Folded:
        """The session at some state of its past, without asking the log when it is in memory. Raises NotFound."""
        return _owned(await self._any(session_id), workspace_id)

    async def attached_files(self, session_id: SessionId, workspace_id: WorkspaceId) -> frozenset[str] | None:
        """Ids of the files among the session's resources; None when there is no such session. Raises Overloaded."""
        try:
            state = (await self.load(session_id, workspace_id)).state
        except NotFound:
            return None
        resources = (held.resource for held in state.resources)
        return frozenset(resource.file_id for resource in resources if isinstance(resource, FileResource))

    async def create(self, session_id: SessionId, command: ClientCommand) -> Executed:
        """Append the first record of a new session."""
        decision = decide(None, command, self._stamp())
        return await self._told(await self._append(session_id, decision, expected=0))

    async def execute(self, session_id: SessionId, workspace_id: WorkspaceId, command: ClientCommand) -> Executed:
        """Decide the command on the session and append what it makes true.

        Raises the domain's refusals, NotFound, and Overloaded when others are quicker until the deadline.
        """
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        try:
            async with asyncio.timeout(self._deadline_s):
                async with lock:
                    executed = await self._execute(session_id, workspace_id, command)
        except TimeoutError:
            raise Overloaded from None
        return await self._told(executed)

    async def _execute(self, session_id: SessionId, workspace_id: WorkspaceId, command: ClientCommand) -> Executed:
        folded = _owned(await self._any(session_id), workspace_id)
        is_fresh = False
        while True:
            try:
                decision = decide(folded.state, command, self._stamp())
                if decision.record is not None:
                    return await self._append(session_id, decision, expected=folded.sequence)
                if is_fresh:
                    return Executed(decision, folded.sequence)
            except Refused:
                if is_fresh:
                    raise
            except LogConflict:
                pass
            folded = _owned(await self._fresh(session_id), workspace_id)
            is_fresh = True

    async def _told(self, executed: Executed) -> Executed:
        record = executed.decision.record
        if record is not None and self._on_written is not None:
            await self._on_written(executed.decision.state, record, executed.sequence)
        return executed

    async def _append(self, session_id: SessionId, decision: Decision, *, expected: int) -> Executed:
        if decision.record is None:
            return Executed(decision, expected)
        sequence = await self._log.append(session_id, "in", decision.record, expected=expected)
        self._projection.states.put(session_id, Folded(decision.state, sequence))
        return Executed(decision, sequence)

    async def _any(self, session_id: SessionId) -> Folded | None:
        known = self._projection.states.get(session_id)
        if known is None:
            known = (await self._projection.stored([session_id])).get(session_id)
        return known if known is not None else await self._fresh(session_id)

    async def _fresh(self, session_id: SessionId) -> Folded | None:
        last = await self._log.last_sequence(session_id)
        if last == 0:
            self._projection.states.forget(session_id)
            return None
        known = self._projection.states.get(session_id)
        if known is None:
            known = (await self._projection.stored([session_id])).get(session_id)
        if known is not None and known.sequence >= last:
            return known
        return await self._tail(session_id, known, reach=last)

    async def _tail(self, session_id: SessionId, known: Folded | None, *, reach: int) -> Folded | None:
        state: SessionState | None
        state, sequence = (known.state, known.sequence) if known is not None else (None, 0)
        async for stored in self._log.read(session_id, after=sequence, reach=reach):
            state, sequence = fold(state, (stored.record,)), stored.sequence
        if state is None:
            return None
        folded = Folded(state, sequence)
        self._projection.states.put(session_id, folded)
        return folded

    def _stamp(self) -> Stamp:
        return Stamp(now_us=self._clock.now_us(), seed=self._ids.seed())


def _owned(folded: Folded | None, workspace_id: WorkspaceId) -> Folded:
    if folded is None or folded.state.deleted or folded.state.workspace_id != workspace_id:
        raise NotFound(NOT_FOUND_TEXT)
    return folded
