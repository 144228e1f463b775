"""Works on one session until nothing is pending: claims it, performs exactly ``pending(state)``, records the outcomes.

The log is the queue: an inbound record is acknowledged only when the folded state proves that it is handled, so a
worker may die at any point and another brain goes on.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from efferent.brain.keeping import Keeper
from efferent.brain.performer import Performer, Scene
from efferent.brain.session_cache import FoldedSession, SessionCache, caught_up
from efferent.brain.settings import BrainSettings
from efferent.brain.snapshots import Snapshots
from efferent.common.domain.commands import BrainCommand, ClaimTurn, TakeQueuedInput
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.effects import Effect, RunTool, TakeInput, effect_key
from efferent.common.domain.ids import BrainId, ClaimId, SessionId, from_seed
from efferent.common.domain.permissions import builtin_tools
from efferent.common.domain.react import pending
from efferent.common.domain.record import StoredRecord
from efferent.common.domain.refusals import ClaimLost
from efferent.common.domain.state import Idle, Rescheduling, Running, SessionState, Terminated
from efferent.common.ports import Clock, Delivery, IdSource, LogConflict, LogUnavailable, SessionLog

CONFLICTS_MAX: Final = 100
"""Conflicts in a row on one decision before the worker gives the session back."""
FRUITLESS_MAX: Final = 20
"""Decisions in a row that recorded nothing before the worker calls it a bug instead of trying for ever."""


class Presence(Protocol):
    """What a worker needs to know of other brains."""

    def is_alive(self, brain_id: BrainId) -> bool | None:
        """Whether the brain was heard of lately; None while this cannot be told yet."""

    def holder_of(self, session_id: SessionId) -> BrainId | None:
        """The live brain that last said it holds the session; None when none is known to."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the workers of one brain share."""

    brain_id: BrainId
    log: SessionLog
    performer: Performer
    keeper: Keeper
    cache: SessionCache
    snapshots: Snapshots
    presence: Presence
    clock: Clock
    ids: IdSource
    settings: BrainSettings


class SessionWorker:
    """The work of this brain on one session."""

    def __init__(self, desk: Desk, session_id: SessionId) -> None:
        self.session_id = session_id
        self._desk = desk
        self._folded: FoldedSession = desk.cache.get(session_id)
        self._claim_id: ClaimId | None = None
        self._held: list[Delivery] = []
        self._news: list[StoredRecord] = []
        self._tail_wanted = False
        self._woken = asyncio.Event()
        self._performing: dict[str, tuple[Effect, asyncio.Task[BrainCommand]]] = {}
        self._fruitless = 0
        self._keeping: asyncio.Task[None] | None = None
        self._has_run_tools = False
        self._has_claimed = False

    @property
    def held(self) -> list[Delivery]:
        """Deliveries that are not yet acknowledged."""
        return self._held

    @property
    def is_performing(self) -> bool:
        """Whether this worker holds the session's claim."""
        return self._claim_id is not None

    @property
    def sequence(self) -> int:
        """Sequence of the newest record that the worker has folded."""
        return self._folded.sequence

    @property
    def known(self) -> int:
        """Sequence of the newest record that the worker has folded or was handed."""
        return max((stored.sequence for stored in self._news), default=self._folded.sequence)

    def deliver(self, delivery: Delivery) -> None:
        """Hand over an inbound record."""
        self._held.append(delivery)
        if delivery.stored.sequence > self._folded.sequence:
            self._news.append(delivery.stored)
            self._woken.set()

    def refresh(self) -> None:
        """Tell that the log may hold more than the worker has seen."""
        self._tail_wanted = True
        self._woken.set()

    async def run(self) -> None:
        """Work until nothing is pending. Raises LogUnavailable; the deliveries are then left to come again."""
        try:
            while await self._step():
                pass
        finally:
            self._abandon_all()
            await self._end_keeping()
            self._desk.cache.put(self.session_id, self._folded)

    async def give_back(self, delay_s: float) -> None:
        """Let another brain have the session: everything held is delivered again after the delay."""
        held, self._held = self._held, []
        for delivery in held:
            await delivery.nak(delay_s)

    # --- one step ---------------------------------------------------------------------------------------------------

    async def _step(self) -> bool:
        await self._absorb()
        state = self._folded.state
        effects = pending(state)
        if state is None or not effects:
            self._rest()
            if state is not None and await self._is_keeping(state):
                return True
            await self._finish()
            return bool(self._news) or self._tail_wanted
        if not self._holds():
            self._abandon_all()
            return await self._claim()
        if any(isinstance(effect, TakeInput) for effect in effects):
            await self._record(TakeQueuedInput(self._claim_id or ClaimId("")))
            return True
        self._reconcile(effects)
        await self._outcome()
        return True

    async def _absorb(self) -> None:
        """Fold what was delivered or noticed; read the log where something between is missing."""
        self._woken.clear()
        news, self._news = self._news, []
        wanted, self._tail_wanted = self._tail_wanted, False
        for stored in sorted(news, key=lambda item: item.sequence):
            if stored.sequence <= self._folded.sequence:
                continue
            if stored.previous == self._folded.sequence:
                self._folded = self._folded.advanced(stored)
            else:
                self._folded = await self._read(stored.sequence)
        if wanted:
            self._folded = await self._read(None)

    async def _read(self, reach: int | None) -> FoldedSession:
        if self._folded.sequence == 0:
            return await self._desk.snapshots.caught_up(self.session_id, reach)
        return await caught_up(self._folded, self._desk.log, self.session_id, reach)

    def _rest(self) -> None:
        """Nothing is to be done: stop what an interrupt left running, and let go of the claim."""
        for key in list(self._performing):
            self._stop(key)
        self._claim_id = None

    async def _is_keeping(self, state: SessionState) -> bool:
        """Whether what the tools made is still being kept; new input does not wait for it."""
        if self._keeping is None:
            if not self._keeps_after(state):
                return False
            self._has_run_tools, self._has_claimed = False, True
            self._keeping = asyncio.create_task(self._desk.keeper.keep(state))
            self._keeping.add_done_callback(lambda _task: self._woken.set())
        if not self._keeping.done():
            await self._woken.wait()
            return True
        self._keeping = None
        return self._keeps_after(state)  # another turn ended meanwhile

    def _keeps_after(self, state: SessionState) -> bool:
        """After a turn with tool calls; and for a delivery that was handled already, maybe by a brain that died."""
        return not state.deleted and (
            self._has_run_tools
            or (not self._has_claimed and state.totals.turns_ended > 0 and bool(builtin_tools(state.agent)))
        )

    async def _finish(self) -> None:
        """Everything folded is handled: acknowledge."""
        held, self._held = self._held, []
        for delivery in held:
            if delivery.stored.sequence <= self._folded.sequence:
                await delivery.ack()
            else:
                self._held.append(delivery)
        self._desk.snapshots.offer(self.session_id, self._folded)

    def _holds(self) -> bool:
        state = self._folded.state
        if state is None or state.claim is None:
            return False
        return state.claim.claim_id == self._claim_id

    async def _claim(self) -> bool:
        state = self._folded.state
        other = state.claim.brain_id if state is not None and state.claim is not None else None
        if other is not None and other != self._desk.brain_id and self._desk.presence.is_alive(other) is not False:
            self._claim_id = None
            await self.give_back(self._desk.settings.busy_nak_delay_s)
            return False
        self._claim_id = ClaimId(from_seed("claim_", self._desk.ids.seed()))
        await self._record(ClaimTurn(self._claim_id, self._desk.brain_id))
        self._has_claimed |= self._holds()
        # What the tools of a turn's earlier rounds made is still to be kept when the brain that ran them is gone.
        claimed = self._folded.state
        self._has_run_tools |= claimed is not None and _has_asked_for_tools(claimed)
        return True

    # --- effects ----------------------------------------------------------------------------------------------------

    def _reconcile(self, effects: tuple[Effect, ...]) -> None:
        """Let exactly these effects be performed: begin the new, stop those that are no longer wanted."""
        state, claim_id = self._folded.state, self._claim_id
        if state is None or claim_id is None:
            return
        wanted = {effect_key(effect): effect for effect in effects}
        for key in [key for key in self._performing if key not in wanted]:
            self._stop(key)
        for key, effect in wanted.items():
            if key not in self._performing:
                scene = Scene(state, self._folded.transcript, self._folded.sequence, claim_id)
                self._has_run_tools |= isinstance(effect, RunTool)
                task = asyncio.create_task(self._desk.performer.perform(effect, scene))
                task.add_done_callback(lambda _task: self._woken.set())
                self._performing[key] = (effect, task)

    async def _outcome(self) -> None:
        """Wait for news, and record the outcomes that are there."""
        if not any(task.done() for _, task in self._performing.values()):
            await self._woken.wait()
        for key, (_, task) in list(self._performing.items()):
            if task.done():
                del self._performing[key]
                await self._record(task.result())

    def _stop(self, key: str) -> None:
        effect, task = self._performing.pop(key)
        if not task.done():
            task.cancel()
            self._desk.performer.stop(effect, self.session_id)

    def _abandon_all(self) -> None:
        """End our part of every effect without touching the outside work: another brain may go on with it."""
        for _, task in self._performing.values():
            task.cancel()
        self._performing.clear()

    async def _end_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])

    # --- recording --------------------------------------------------------------------------------------------------

    def _count_fruitless(self) -> None:
        self._fruitless += 1
        if self._fruitless > FRUITLESS_MAX:
            raise RuntimeError(f"{FRUITLESS_MAX} decisions in a row recorded nothing")

    async def _record(self, command: BrainCommand) -> None:
        """Decide and append; on a conflict read what is new and decide again. A lost claim is not an error."""
        for _ in range(CONFLICTS_MAX):
            stamp = Stamp(self._desk.clock.now_us(), self._desk.ids.seed())
            try:
                decision = decide(self._folded.state, command, stamp)
            except ClaimLost:
                self._count_fruitless()
                return
            if decision.record is None:
                self._count_fruitless()
                return
            try:
                sequence = await self._desk.log.append(
                    self.session_id, "out", decision.record, expected=self._folded.sequence
                )
            except LogConflict as conflict:
                self._folded = await self._read(conflict.last or None)
                continue
            self._folded = self._folded.followed_by(decision.record, decision.state, sequence)
            self._fruitless = 0
            return
        raise LogUnavailable(f"session {self.session_id} changes faster than it can be written")


def _has_asked_for_tools(state: SessionState) -> bool:
    """Whether the turn that goes on may have run tools: it has, unless its first model request is still open."""
    match state.status:
        case Running(rounds=rounds) | Rescheduling(rounds=rounds):
            return rounds > 0 and bool(builtin_tools(state.agent))
        case Idle() | Terminated():
            return False
