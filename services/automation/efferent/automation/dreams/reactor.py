"""Dreams as a part of the automation: each is taken from its creation to its end, one look at a time.

A dream is its record and a session whose id derives from the dream's: however often and by whomever it is looked at,
there is one session. The record of its creation is delivered again and again until nothing is left to do.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from efferent.automation.dreams.inputs import DreamInputs, Unusable
from efferent.automation.dreams.session import creation, output_store_of, session_of
from efferent.automation.reactor import Desk, Later, RecordSubscription
from efferent.common import session_writing
from efferent.common.control.aggregates import Actor
from efferent.common.control.dreams import DREAMS
from efferent.common.domain import timestamp
from efferent.common.domain.commands import ArchiveSession, InterruptDraft, SendEvents
from efferent.common.domain.control.dream import (
    DREAM,
    CompleteDream,
    CountDream,
    DreamCommand,
    FailDream,
    StartDream,
)
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.events.stop import BudgetReached, EndTurn, Refusal, RequiresAction, RetriesExhausted
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.dream import Dream, DreamError, DreamUsage
from efferent.common.domain.state import Idle, SessionState, Terminated, Totals, shown_status
from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream import durable, subjects
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.jetstream.inbound import BRAIN_DURABLE
from efferent.common.model_config import UnknownModel
from efferent.common.ports import LogConflict, RawRecord

LOOK_AGAIN_S: Final = 1.0
"""How long after one look at a live dream the next one comes."""
DREAMS_AT_ONCE_MAX: Final = 16
"""Dreams that one process looks at in the same moment; a look at a running one takes milliseconds."""
DREAMS_LIVE_MAX: Final = 1_000
"""Later ones wait until one of these has ended."""
SESSIONS_KEPT_MAX: Final = 1_000
"""Folded sessions that are kept between two looks."""
ACK_WAIT_S: Final = 5.0
"""How long a look may take before another replica looks as well. Copying a large store takes longer: whoever comes
goes on where the copy is."""
KEPT_WITHIN_S: Final = 30.0
"""A brain writes memories after it has said that the session is idle, and then acknowledges the session's input. When
this cannot be seen, since other sessions hold the consumer back, a dream is over after this time."""

logger = logging.getLogger("efferent.automation")


@dataclass(frozen=True, slots=True)
class Followed:
    """The session of a dream as far as it was read."""

    state: SessionState
    sequence: int
    inbound_sequence: int
    """The newest record that a brain has to acknowledge."""
    before_archive: SessionState | None = None
    """As it stood when it was archived: what came of its work."""


class Dreams:
    """See the protocol ``Reactor``."""

    def __init__(
        self, desk: Desk, inputs: DreamInputs | None = None, *, sessions_kept_max: int = SESSIONS_KEPT_MAX
    ) -> None:
        self._desk = desk
        self._sessions_kept_max = sessions_kept_max
        self._inputs = inputs or DreamInputs(desk)
        self._timeout_s = desk.settings.dream_timeout_s
        self._sessions: OrderedDict[SessionId, Followed] = OrderedDict()

    def subscriptions(self) -> Sequence[RecordSubscription]:
        """The records of dreams, of which the one of the creation keeps coming until the end."""
        dreams = DurableSpec(
            subjects.CONTROL,
            "automation-dreams",
            (subjects.control_of_family(DREAM.subject_family),),
            ack_wait_s=ACK_WAIT_S,
            ack_pending_max=DREAMS_LIVE_MAX,
        )
        return (RecordSubscription(dreams, self.look, in_flight_max=DREAMS_AT_ONCE_MAX),)

    async def start(self) -> None:
        """Nothing runs by itself."""

    async def drain(self) -> None:
        """Nothing is held."""

    async def stop(self) -> None:
        """Nothing is open."""

    async def look(self, raw: RawRecord) -> None:
        """Take a dream one step on. Raises Later until nothing is left to do, LogUnavailable, UnreadableRecord."""
        record = DREAM.decode(raw.payload)
        if record.type != f"{DREAM.name}.created":
            return
        workspace_id, dream_id = record.workspace_id, record.data.id
        dream = (await self._desk.aggregates.load(DREAM, workspace_id, dream_id)).data
        if dream is None:
            return
        match dream.status:
            case "pending":
                dream = await self._begin(workspace_id, dream)
            case "running":
                dream = await self._follow(workspace_id, dream)
            case "completed" | "failed" | "canceled":
                pass
        if dream.is_live:
            raise Later(LOOK_AGAIN_S, f"dream {dream.id} is {dream.status}")
        await self._close(dream)

    async def _begin(self, workspace_id: WorkspaceId, dream: Dream) -> Dream:
        """Make what the dream needs, and its session."""
        if self._is_late(dream):
            return await self._fail(workspace_id, dream, _timeout())
        try:
            traits = self._desk.models.traits(dream.model.id)
            transcripts = await self._inputs.transcripts(workspace_id, dream)
            output = await self._inputs.output(workspace_id, dream)
        except Unusable as unusable:
            return await self._fail(workspace_id, dream, unusable.error)
        except UnknownModel as unknown:
            return await self._fail(workspace_id, dream, _internal(str(unknown)))
        command = creation(workspace_id, dream, output, transcripts, traits)
        session_id = session_of(dream)
        decision = decide(None, command, Stamp(now_us=self._desk.clock.now_us(), seed=self._desk.ids.seed()))
        if decision.record is None:
            raise RuntimeError("a new session without a record")
        if not await self._desk.sessions.last_sequence(session_id):
            try:
                await session_writing.begin(self._desk.sessions, self._desk.control, session_id, decision.record)
            except LogConflict:
                logger.info("another replica began the dream", extra={"dream_id": dream.id})
            except session_writing.SessionDeleted:
                logger.info("the session was deleted before the dream began", extra={"dream_id": dream.id})
        return await self._change(workspace_id, dream, StartDream(session_id, output_store_of(dream)))

    async def _follow(self, workspace_id: WorkspaceId, dream: Dream) -> Dream:
        """See how far the session is. It is archived before the dream says that it is over."""
        session = await self._session(session_of(dream))
        if session is None:
            return await self._fail(workspace_id, dream, _internal("The session of the dream was deleted."))
        usage = _usage(session.state.totals)
        outcome = _outcome(session, usage)
        if outcome is not None and not (await self._is_kept(session) and await self._archived(session)):
            outcome = None
        if outcome is None and self._is_late(dream):
            outcome = FailDream(_timeout(), usage)
        if outcome is None and usage == dream.usage:
            return dream
        return await self._change(workspace_id, dream, outcome or CountDream(usage))

    async def _close(self, dream: Dream) -> None:
        """Archive the session of an ended dream, once it stands still. Raises Later until it does."""
        session_id = session_of(dream)
        session = await self._session(session_id)
        if session is None or session.state.archived_at is not None:
            self._sessions.pop(session_id, None)
            return
        if shown_status(session.state) in ("running", "rescheduling"):
            if not any(item.type == "user.interrupt" for item in session.state.queue):
                await self._write(session_id, SendEvents(events=(InterruptDraft(),)))
            raise Later(LOOK_AGAIN_S, f"the session of dream {dream.id} is interrupted")
        if not (await self._is_kept(session) and await self._archived(session)):
            raise Later(LOOK_AGAIN_S, f"the session of dream {dream.id} is not over")
        self._sessions.pop(session_id, None)

    async def _is_kept(self, session: Followed) -> bool:
        """Whether what an idle session wrote is in its store. Raises LogUnavailable."""
        if self._seconds_since(session.state.last_at) > KEPT_WITHIN_S:
            return True
        done = await durable.acknowledged_up_to(self._desk.connection, subjects.SESSIONS, BRAIN_DURABLE)
        return done >= session.inbound_sequence

    async def _archived(self, session: Followed) -> bool:
        """Whether the session is archived now; one that has moved on is not. Raises LogUnavailable."""
        return session.state.archived_at is not None or await self._write(session.state.session_id, ArchiveSession())

    async def _write(self, session_id: SessionId, command: SendEvents | ArchiveSession) -> bool:
        """Whether the session took the command; one that has moved on may refuse it. Raises LogUnavailable."""
        try:
            await session_writing.execute(self._desk.sessions, session_id, command, self._desk.clock, self._desk.ids)
        except (Refused, LogConflict) as refusal:
            logger.info("the session of a dream refused: %s", refusal, extra={"session_id": session_id})
            return False
        return True

    async def _session(self, session_id: SessionId) -> Followed | None:
        """The session of a dream as it is now; None when it is gone or was never made."""
        kept = self._sessions.pop(session_id, None)
        if not await self._desk.sessions.last_sequence(session_id):
            return None
        state, sequence, inbound = (kept.state, kept.sequence, kept.inbound_sequence) if kept else (None, 0, 0)
        before_archive = kept.before_archive if kept else None
        async for stored in self._desk.sessions.read(session_id, after=sequence):
            before, state, sequence = state, fold(state, (stored.record,)), stored.sequence
            if (
                before is not None
                and before.archived_at is None
                and state is not None
                and state.archived_at is not None
            ):
                before_archive = before
            if stored.side == "in":
                inbound = stored.sequence
        if state is None or state.deleted:
            return None
        followed = self._sessions[session_id] = Followed(state, sequence, inbound, before_archive)
        while len(self._sessions) > self._sessions_kept_max:
            self._sessions.popitem(last=False)
        return followed

    async def _fail(self, workspace_id: WorkspaceId, dream: Dream, error: DreamError) -> Dream:
        return await self._change(workspace_id, dream, FailDream(error))

    async def _change(self, workspace_id: WorkspaceId, dream: Dream, command: DreamCommand) -> Dream:
        return await DREAMS.change(self._desk.aggregates, Actor(workspace_id), dream.id, command)

    def _is_late(self, dream: Dream) -> bool:
        return self._seconds_since(dream.created_at) > self._timeout_s

    def _seconds_since(self, moment: Timestamp) -> float:
        return timestamp.seconds_between(moment, timestamp.from_epoch_us(self._desk.clock.now_us()))


def _outcome(session: Followed, usage: DreamUsage) -> CompleteDream | FailDream | None:
    """How a dream has ended, by its session; None while it goes on."""
    if session.before_archive is None:
        return _outcome_of(session.state, usage)
    return _outcome_of(session.before_archive, usage) or _outcome_of(session.state, usage)


def _outcome_of(state: SessionState, usage: DreamUsage) -> CompleteDream | FailDream | None:
    match state.status:
        case Terminated():
            return FailDream(_internal("The session of the dream ended before its work was done."), usage)
        case Idle(stop_reason=reason) if shown_status(state) == "idle":
            match reason:
                case EndTurn():
                    return CompleteDream(usage)
                case Refusal():
                    return FailDream(_internal("The model refused."), usage)
                case RetriesExhausted() | BudgetReached():
                    return FailDream(_internal("The model could not be reached, or came to no end."), usage)
                case RequiresAction() | None:
                    return None
        case _:
            return None


def _usage(totals: Totals) -> DreamUsage:
    return DreamUsage(
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cache_creation_input_tokens=totals.cache_creation_tokens,
        cache_read_input_tokens=totals.cache_read_tokens,
    )


def _timeout() -> DreamError:
    return DreamError(type="timeout", message="The dream took too long.")


def _internal(text: str) -> DreamError:
    return DreamError(type="internal_error", message=text)
