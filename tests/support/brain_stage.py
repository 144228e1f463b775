"""A stage for the brain's workers: the in-memory log twin, a model and hands that a test steps by hand."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from pydantic import JsonValue

from efferent.brain.file_shower import FileShower
from efferent.brain.furnishing import Furnisher
from efferent.brain.keeping import Keeper
from efferent.brain.performer import Performer
from efferent.brain.placements import Collected, MemoryChange, MemoryPlace, Output, Placement
from efferent.brain.ports import (
    ModelChunk,
    ModelFailure,
    ModelReply,
    ModelRequest,
    OutputGone,
    PlacementMissing,
    TextDelta,
    ToolCallDraft,
    ToolOutcome,
)
from efferent.brain.roster import Roster
from efferent.brain.session_cache import SessionCache
from efferent.brain.settings import BrainSettings
from efferent.brain.snapshots import Snapshots
from efferent.brain.worker import Desk
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.commands import Command, CreateSession, EventDraft, SendEvents
from efferent.common.domain.content import TextBlock
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Decision, Stamp
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import BrainId, EnvironmentId, EventId, SessionId, ThreadId, WorkspaceId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.agent import Tool
from efferent.common.domain.resources.environment import CloudConfig
from efferent.common.domain.state import SessionState
from efferent.common.domain.usage import ModelUsage
from efferent.common.files.store import FileStore
from efferent.common.ports import LogConflict
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_inbound import InMemoryDurable, InMemoryInboundConsumer
from efferent.common.testing.in_memory_log import InMemoryControlLog, InMemorySessionLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.seeds import CountedSeeds
from efferent.common.testing.specification import agent

DEADLINE_S = 30.0
SESSION = SessionId("sesn_1")


class SteppedModel:
    """A model whose answers a test puts in, one per request; requests are kept."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._answers: asyncio.Queue[ModelReply | ModelFailure] = asyncio.Queue()

    def answer(self, *parts: TextBlock | ToolCallDraft, tokens: int = 10) -> None:
        """The next answer."""
        used = ModelUsage(input_tokens=tokens, output_tokens=1)
        self._answers.put_nowait(ModelReply(parts, "end_turn", used))

    def fail(self, failure: ModelFailure) -> None:
        """The next request fails."""
        self._answers.put_nowait(failure)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """See the port."""
        self.requests.append(request)
        self.asked.set()
        try:
            answer = await self._answers.get()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(answer, ModelFailure):
            raise answer
        for block, part in enumerate(answer.parts):
            if isinstance(part, TextBlock):
                yield TextDelta(block, part.text)
        yield answer

    async def close(self) -> None:
        """Nothing to close."""


class SteppedHands:
    """Hands whose calls a test finishes; what ran and what was cancelled is kept."""

    def __init__(self) -> None:
        self.calls: list[EventId] = []
        self.cancelled: asyncio.Queue[EventId] = asyncio.Queue()
        self.called = asyncio.Event()
        self.placement = Placement()
        self.prepared: list[Placement] = []
        self.is_forgetful = False
        self.settled = asyncio.Event()
        self.made = Collected()
        self.contents: dict[str, bytes] = {}
        self.collections = 0
        self.may_collect = asyncio.Event()
        self.may_collect.set()
        self._results: dict[EventId, asyncio.Future[ToolOutcome]] = {}

    def finish(self, call_id: EventId, text: str = "ok") -> None:
        """The call gives this text."""
        self._future(call_id).set_result(ToolOutcome((TextBlock(text=text),), is_error=False))

    async def execute(
        self,
        session_id: SessionId,
        call_id: EventId,
        tool: str,
        arguments: dict[str, JsonValue],
        *,
        placement: str = "",
    ) -> ToolOutcome:
        """See the port."""
        if placement != self.placement.name:
            raise PlacementMissing("another one")
        self.calls.append(call_id)
        self.called.set()
        return await asyncio.shield(self._future(call_id))

    async def prepare(self, session_id: SessionId, placement: Placement) -> None:
        """See the port."""
        self.prepared.append(placement)
        if not self.is_forgetful:
            self.placement = placement

    async def collect(self, session_id: SessionId) -> Collected:
        """See the port."""
        self.collections += 1
        await self.may_collect.wait()
        return self.made

    async def read_output(self, session_id: SessionId, output: Output) -> AsyncGenerator[bytes, None]:
        """See the port."""
        content = self.contents.get(output.path)
        if content is None:
            raise OutputGone(output.path)
        yield content

    async def settle(self, session_id: SessionId, outputs: tuple[Output, ...]) -> None:
        """See the port."""
        left = tuple(output for output in self.made.outputs if output not in outputs)
        self.made = Collected(left, self.made.memories, self.made.is_all)
        self.settled.set()

    async def cancel(self, session_id: SessionId, call_id: EventId) -> None:
        """See the port."""
        self.cancelled.put_nowait(call_id)

    async def close(self) -> None:
        """Nothing to close."""

    def _future(self, call_id: EventId) -> "asyncio.Future[ToolOutcome]":
        return self._results.setdefault(call_id, asyncio.get_running_loop().create_future())


class ListedMemories:
    """Memory stores whose content a test says; what was written is kept."""

    def __init__(self) -> None:
        self.stores: dict[str, tuple[MemoryPlace, ...]] = {}
        self.listings = 0
        self.written: list[tuple[str, MemoryChange]] = []
        self.refusal: Refused | None = None

    async def listing(self, workspace_id: WorkspaceId, memory_store_id: str) -> tuple[MemoryPlace, ...]:
        """See the port."""
        self.listings += 1
        return self.stores.get(memory_store_id, ())

    async def write(
        self, workspace_id: WorkspaceId, session_id: SessionId, memory_store_id: str, change: MemoryChange
    ) -> None:
        """See the port."""
        if self.refusal is not None:
            raise self.refusal
        self.written.append((memory_store_id, change))


@dataclass
class OneSize:
    """Every model is like this."""

    window_tokens: int = 1_000

    def context_window_tokens(self, model_id: str) -> int:
        """See the port."""
        return self.window_tokens

    def list_cost_micro_usd(self, model_id: str, usage: ModelUsage) -> int | None:
        """See the port."""
        return 5


class Presences:
    """What a test says of brains."""

    def __init__(self) -> None:
        self.alive: dict[BrainId, bool] = {}
        self.holders: dict[SessionId, BrainId] = {}
        self.looked_up: asyncio.Queue[SessionId] = asyncio.Queue()

    def is_alive(self, brain_id: BrainId) -> bool | None:
        """See the port."""
        return self.alive.get(brain_id, False)

    def holder_of(self, session_id: SessionId) -> BrainId | None:
        """See the port."""
        self.looked_up.put_nowait(session_id)
        return self.holders.get(session_id)


@dataclass(slots=True, kw_only=True)
class WatchedDurable(InMemoryDurable):
    """Tells when something was acknowledged."""

    acknowledged: asyncio.Event

    def settle(self, sequence: int) -> None:
        """Also tells of it."""
        InMemoryDurable.settle(self, sequence)
        self.acknowledged.set()


@dataclass
class Stage:
    """One log, and as many brains as a test starts."""

    stream: InMemoryStream = field(default_factory=InMemoryStream)
    model: SteppedModel = field(default_factory=SteppedModel)
    hands: SteppedHands = field(default_factory=SteppedHands)
    presences: Presences = field(default_factory=Presences)
    deltas: list[bytes] = field(default_factory=list)
    deleted: set[SessionId] = field(default_factory=set)
    events_between_snapshots: int = 10
    settings: BrainSettings = field(default_factory=lambda: BrainSettings(retry_base_s=0.01, busy_nak_delay_s=0.02))

    def __post_init__(self) -> None:
        self.blobs = InMemoryBlobs()
        self.log = InMemorySessionLog(self.stream, self.blobs)
        self.acknowledged = asyncio.Event()
        self.durable = WatchedDurable(self.stream, ack_wait_s=0.2, acknowledged=self.acknowledged)
        self.facts = OneSize()
        self.memories = ListedMemories()
        control_log = InMemoryControlLog(self.stream)
        aggregates = Aggregates(control_log, LogSets(control_log), SystemClock(), Metrics(), write_deadline_s=5)
        self.files = FileStore(aggregates, self.blobs, SystemClock(), CountedSeeds("files"))
        self._seeds = CountedSeeds("client")
        self._tasks: list[asyncio.Task[None]] = []

    def snapshots(self) -> Snapshots:
        """A brain's view of the snapshots, with hardly any events between two of them."""
        return Snapshots(self.blobs, self.log, events_between=self.events_between_snapshots)

    def brain(self, name: str = "brain_1") -> Roster:
        """Start a brain."""

        async def keep_delta(_session_id: SessionId, payload: bytes) -> None:
            self.deltas.append(payload)

        furnisher = Furnisher(self.hands, self.memories)
        desk = Desk(
            brain_id=BrainId(name),
            log=self.log,
            performer=Performer(
                self.model,
                self.facts,
                self.hands,
                furnisher,
                FileShower(self.files),
                SystemClock(),
                self.settings,
                keep_delta,
            ),
            keeper=Keeper(self.hands, furnisher, self.files, self.memories, self.was_deleted),
            cache=SessionCache(100),
            snapshots=self.snapshots(),
            presence=self.presences,
            clock=SystemClock(),
            ids=CountedSeeds(name),
            settings=self.settings,
        )
        roster = Roster(desk, InMemoryInboundConsumer(self.durable, self.blobs))
        self._tasks.append(asyncio.create_task(roster.serve()))
        return roster

    async def was_deleted(self, session_id: SessionId) -> bool:
        """What the tests say."""
        return session_id in self.deleted

    async def close(self) -> None:
        """End every brain."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, *tools: Tool) -> None:
        """A session with these tools."""
        await self.client(
            CreateSession(
                session_id=SESSION,
                workspace_id=WorkspaceId("wrkspc_1"),
                primary_thread_id=ThreadId("sthr_1"),
                agent=agent(*tools),
                environment_id=EnvironmentId("env_1"),
                environment_config=CloudConfig(),
            )
        )

    async def send(self, *events: EventDraft) -> Decision:
        """What a client sends."""
        return await self.client(SendEvents(events))

    async def client(self, command: Command) -> Decision:
        """Decide and append on behalf of a client, as a gateway does."""
        while True:
            state, sequence = await self.state()
            decision = decide(state, command, Stamp(SystemClock().now_us(), self._seeds.seed()))
            if decision.record is None:
                return decision
            try:
                await self.log.append(SESSION, "in", decision.record, expected=sequence)
            except LogConflict:
                continue
            return decision

    async def state(self) -> tuple[SessionState | None, int]:
        """The session as its log says."""
        state, sequence = None, 0
        async for stored in self.log.read(SESSION):
            state, sequence = fold(state, (stored.record,)), stored.sequence
        return state, sequence

    async def types(self) -> list[str]:
        """Types of the public events so far."""
        found = [entry.event.type async for stored in self.log.read(SESSION) for entry in stored.record.entries]
        return [name for name in found if not name.startswith("internal.")]

    async def until(self, reached: Callable[[SessionState], bool]) -> SessionState:
        """Wait until the folded session is so."""
        changed = self.stream.watch()
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    changed.clear()
                    state, _ = await self.state()
                    if state is not None and reached(state):
                        return state
                    await changed.wait()
        finally:
            self.stream.unwatch(changed)
