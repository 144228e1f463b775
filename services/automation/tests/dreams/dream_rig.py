"""Dreams on a real log with a clock that stands still: what they read, looks at them, a brain played by hand."""

import asyncio
import contextlib
from typing import Any, Final

from efferent.automation.dreams.inputs import DreamInputs
from efferent.automation.dreams.reactor import Dreams
from efferent.automation.dreams.session import session_of
from efferent.automation.reactor import Later
from efferent.common.control.dreams import DREAMS
from efferent.common.control.kinds import subject_of
from efferent.common.domain.commands import (
    ClaimTurn,
    Command,
    CreateSession,
    RecordFailure,
    RecordReply,
)
from efferent.common.domain.control.dream import DREAM, CancelDream, CreateDream, DreamCommand
from efferent.common.domain.control.memory_store import CreateMemoryStore
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.events.stop import RefusalStopDetails
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import (
    BrainId,
    ClaimId,
    DreamId,
    EnvironmentId,
    MemoryStoreId,
    SessionId,
    ThreadId,
    WorkspaceId,
    from_seed,
)
from efferent.common.domain.resources.dream import Dream, DreamModel
from efferent.common.domain.resources.environment import CloudConfig
from efferent.common.domain.resources.memory import SessionActor
from efferent.common.domain.state import Running, SessionState
from efferent.common.domain.usage import ModelUsage
from efferent.common.jetstream import api, durable, subjects
from efferent.common.jetstream.inbound import BRAIN_DURABLE, JetStreamInboundConsumer
from efferent.common.memory.store import MEMORY_STORES, Author, MemoryStores
from efferent.common.testing.specification import agent, message, say
from services.automation.tests.log_stage import WITHIN_S, WORKSPACE, LogStage

USAGE: Final = ModelUsage(input_tokens=10, output_tokens=5, cache_creation_input_tokens=3, cache_read_input_tokens=2)


class DreamStage(LogStage):
    """A log and a reactor that is shown the creation of dreams as often as a test wants."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stores = MemoryStores(self.aggregates, self.control, self.blobs, self.ids)
        self.reactor = self.another()

    async def open(self) -> None:
        """Declare the consumer of the brains; nobody reads from it."""
        await JetStreamInboundConsumer(self.connection, self.blobs).declare()

    def another(self, *, store_bytes_max: int | None = None, sessions_kept_max: int = 10) -> Dreams:
        """One more replica."""
        desk = self.desk(dream_timeout_s=3_600)
        inputs = None if store_bytes_max is None else DreamInputs(desk, store_bytes_max=store_bytes_max)
        return Dreams(desk, inputs, sessions_kept_max=sessions_kept_max)

    async def look(self, dream: Dream, reactor: Dreams | None = None) -> Dream:
        """Show the creation of the dream once more; returns the dream after it."""
        raw = await anext(aiter(self.control.read(subject_of(DREAM, WORKSPACE, dream.id))))
        try:
            await (reactor or self.reactor).look(raw)
        except Later:
            self.is_done = False
        else:
            self.is_done = True
        return await self.dream(dream.id)

    async def dream(self, dream_id: DreamId) -> Dream:
        """The dream as it is now."""
        return await DREAMS.get(self.aggregates, WORKSPACE, dream_id)

    async def change(self, dream: Dream, command: DreamCommand) -> Dream:
        """Carry out a command on it."""
        return await DREAMS.change(self.aggregates, self.actor, dream.id, command)

    async def cancel(self, dream: Dream) -> Dream:
        """Cancel it, as a client does."""
        return await self.change(dream, CancelDream())

    # --- what tests set up -------------------------------------------------------------------------------------------

    async def store(self, **memories: str) -> MemoryStoreId:
        """A memory store with these memories."""
        store_id = MemoryStoreId(from_seed("memstore_", self.ids.seed()))
        await MEMORY_STORES.change(self.aggregates, self.actor, store_id, CreateMemoryStore(store_id, "Notes"))
        author = Author(self.actor, SessionActor(session_id=SessionId("sesn_1")))
        for path, content in memories.items():
            await self.stores.create(author, store_id, f"/{path}.md", content)
        return store_id

    async def session(self, workspace_id: WorkspaceId = WORKSPACE) -> SessionId:
        """A session in which something was asked."""
        session_id = SessionId(from_seed("sesn_", self.ids.seed()))
        command = CreateSession(
            session_id=session_id,
            workspace_id=workspace_id,
            primary_thread_id=ThreadId("sthr_1"),
            agent=agent(),
            environment_id=EnvironmentId("env_1"),
            environment_config=CloudConfig(),
            initial_events=(message("Remember the milk."),),
        )
        await self.play(session_id, command)
        return session_id

    async def make(self, store_id: MemoryStoreId, *session_ids: SessionId, **fields: Any) -> Dream:
        """A dream."""
        dream_id = DreamId(from_seed("drm_", self.ids.seed()))
        model = DreamModel(id="offline/demo")
        command = CreateDream(dream_id, store_id, session_ids or (await self.session(),), model, **fields)
        return await DREAMS.change(self.aggregates, self.actor, dream_id, command)

    async def contents(self, store_id: str) -> dict[str, str | None]:
        """What is in a store, by path."""
        memories = await self.stores.memories(WORKSPACE, MemoryStoreId(store_id))
        found = {}
        for memory in memories:
            found[memory.path] = await self.stores.content(memory.memory_store_id, memory.memory_version_id)
        return found

    # --- a brain -----------------------------------------------------------------------------------------------------

    async def play(self, session_id: SessionId, command: Command) -> SessionState | None:
        """Carry out a command on a session."""
        state, sequence = await self.folded(session_id)
        self.clock.advance(0.001)
        decision = decide(state, command, Stamp(now_us=self.clock.now_us(), seed=self.ids.seed()))
        assert decision.record is not None
        await self.sessions.append(session_id, "in", decision.record, expected=sequence)
        return decision.state

    async def folded(self, session_id: SessionId) -> tuple[SessionState | None, int]:
        """The session and its last sequence."""
        records = [stored async for stored in self.sessions.read(session_id)]
        return fold(None, (stored.record for stored in records)), records[-1].sequence if records else 0

    async def state(self, dream: Dream) -> SessionState:
        """The session of a dream."""
        state, _ = await self.folded(session_of(dream))
        assert state is not None
        return state

    async def began(self, dream: Dream) -> tuple[ClaimId, Any]:
        """A brain claims the dream's session and asks the model; the claim and the open request."""
        session_id, claim_id = session_of(dream), ClaimId("claim_1")
        state = await self.play(session_id, ClaimTurn(claim_id, BrainId("brain_1")))
        assert state is not None
        assert isinstance(state.status, Running)
        return claim_id, state.status.span_id

    async def answered(self, dream: Dream, *, refusal: RefusalStopDetails | None = None) -> None:
        """The model ends the turn of the dream's session."""
        claim_id, span_id = await self.began(dream)
        parts = (say("done"),) if refusal is None else ()
        await self.play(session_of(dream), RecordReply(claim_id, span_id, "m", parts, USAGE, None, refusal=refusal))

    async def failed(self, dream: Dream) -> None:
        """The model fails for good."""
        claim_id, span_id = await self.began(dream)
        command = RecordFailure(claim_id, span_id, "model_overloaded", "exhausted", "no", 0)
        await self.play(session_of(dream), command)

    async def acknowledge(self) -> None:
        """The brains have acknowledged all input."""
        last = await api.call(
            self.connection, f"STREAM.MSG.GET.{subjects.SESSIONS}", {"last_by_subj": subjects.SESSIONS_IN}
        )
        newest = int(last["message"]["seq"])
        brains = JetStreamInboundConsumer(self.connection, self.blobs)
        async with asyncio.timeout(WITHIN_S), contextlib.aclosing(brains.deliveries()) as deliveries:
            async for delivery in deliveries:
                await delivery.ack()
                if delivery.stored.sequence == newest:
                    break
            await brains.close()
            while await durable.acknowledged_up_to(self.connection, subjects.SESSIONS, BRAIN_DURABLE) < newest:
                pass  # an acknowledgement is not answered
