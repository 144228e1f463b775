"""Session services over a real nats-server, and a stand-in for the brain that appends platform records."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain.commands import CreateSession, DeleteSession, EventDraft, MessageDraft, SendEvents
from efferent.common.domain.content import TextBlock
from efferent.common.domain.events import (
    AgentMessage,
    InternalEvent,
    PublicEvent,
    SessionStatusIdle,
    SessionStatusRunning,
    SessionThreadStatusIdle,
    SessionThreadStatusRunning,
    SessionUpdated,
    SessionUsage,
    SpanModelRequestEnd,
    SpanModelRequestStart,
    TurnClaimed,
)
from efferent.common.domain.events.stop import EndTurn
from efferent.common.domain.events.user import QueuedInput
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import (
    AgentId,
    BrainId,
    ClaimId,
    EnvironmentId,
    EventId,
    RecordId,
    SessionId,
    ThreadId,
    WorkspaceId,
    from_seed,
)
from efferent.common.domain.record import Entry, Record, Side
from efferent.common.domain.resources.agent import (
    AgentSnapshot,
    AgentToolset,
    ModelConfig,
    PermissionPolicy,
    ToolsetDefaults,
)
from efferent.common.domain.resources.environment import CloudConfig
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp, after, from_epoch_us
from efferent.common.domain.totals import usage_of
from efferent.common.domain.usage import ModelUsage
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.free_port import free_port
from efferent.gateway.sessions.projected import Deletion
from efferent.gateway.sessions.services import SessionParts, SessionServices
from efferent.gateway.streams.live_reader import Reader

WORKSPACE: Final = WorkspaceId("wrkspc_test")
SEEDS: Final = RandomSeeds()
CLOCK: Final = SystemClock()
WAIT_S: Final = 30.0


def agent() -> AgentSnapshot:
    """A small agent with the built-in tools."""
    policy = PermissionPolicy(type="always_allow")
    return AgentSnapshot(
        id=AgentId(from_seed("agent_", SEEDS.seed())),
        version=1,
        name="tester",
        model=ModelConfig(id="offline/echo"),
        tools=(AgentToolset(default_config=ToolsetDefaults(permission_policy=policy)),),
    )


def message(text: str) -> MessageDraft:
    """A user message to be."""
    return MessageDraft((TextBlock(text=text),))


Make = Callable[[EventId, Timestamp], PublicEvent | InternalEvent]


@dataclass
class Brain:
    """Appends what a brain would, one record at a time."""

    log: JetStreamSessionLog
    session_id: SessionId
    state: SessionState | None = None
    sequence: int = 0
    claim: ClaimId = field(default_factory=lambda: ClaimId(from_seed("claim_", SEEDS.seed())))

    async def look(self) -> SessionState:
        """Fold what is new."""
        async for stored in self.log.read(self.session_id, after=self.sequence):
            self.state, self.sequence = fold(self.state, (stored.record,)), stored.sequence
        assert self.state is not None
        return self.state

    async def append(
        self, makes: Iterable[Make], *, thread: ThreadId | None = None, side: Side = "out"
    ) -> list[EventId]:
        """One record of these events; returns their ids."""
        state = await self.look()
        entries, at = [], state.last_at
        for make in makes:
            at = max(after(at), from_epoch_us(CLOCK.now_us()))
            event = make(EventId(from_seed("sevt_", SEEDS.seed())), at)
            entries.append(Entry(thread=thread, event=event))
        record = Record(id=RecordId(from_seed("rec_", SEEDS.seed())), entries=tuple(entries))
        await self.log.append(self.session_id, side, record, expected=self.sequence)
        await self.look()
        return [entry.event.id for entry in entries]

    async def start_turn(self) -> EventId:
        """Claim, take everything queued in, open a model request; returns the span's id."""
        state = await self.look()
        thread, name = state.primary_thread_id, state.agent.name
        taken = [_processed(item) for item in state.queue]
        ids = await self.append(
            [
                lambda id, at: TurnClaimed(id=id, claim_id=self.claim, brain_id=BrainId("brain_test"), processed_at=at),
                lambda id, at: SessionStatusRunning(id=id, processed_at=at),
                lambda id, at: SessionThreadStatusRunning(
                    id=id, session_thread_id=thread, agent_name=name, processed_at=at
                ),
                *taken,
                lambda id, at: SpanModelRequestStart(id=id, processed_at=at),
            ]
        )
        return ids[-1]

    async def end_turn(self, span: EventId, text: str, *, message_id: EventId | None = None) -> None:
        """The answer, and idle."""
        state = await self.look()
        thread, name = state.primary_thread_id, state.agent.name
        content = (TextBlock(text=text),)
        await self.append(
            [
                lambda id, at: AgentMessage(id=message_id or id, content=content, processed_at=at),
                lambda id, at: SpanModelRequestEnd(
                    id=id, model_request_start_id=span, is_error=False, model_usage=ModelUsage(), processed_at=at
                ),
                lambda id, at: SessionThreadStatusIdle(
                    id=id, session_thread_id=thread, agent_name=name, stop_reason=EndTurn(), processed_at=at
                ),
                lambda id, at: SessionUsage(id=id, usage=usage_of(state, at), processed_at=at),
                lambda id, at: SessionStatusIdle(id=id, stop_reason=EndTurn(), processed_at=at),
            ]
        )

    async def answer(self, text: str) -> None:
        """A whole text turn over whatever is queued."""
        await self.end_turn(await self.start_turn(), text)


def _processed(item: QueuedInput) -> Make:
    """The event as the record that takes it in repeats it."""
    return lambda _, at: item.model_copy(update={"processed_at": at})


def retitled(title: str) -> Make:
    """A change that shows as one event."""
    return lambda id, at: SessionUpdated(id=id, title=title, processed_at=at)


@dataclass
class Rig:
    """Session services with what they stand on."""

    connection: Connection
    log: JetStreamSessionLog
    control_log: JetStreamControlLog
    blobs: LocalFolderBlobs
    services: SessionServices
    folder: Path

    async def create(self, *events: EventDraft, workspace_id: WorkspaceId = WORKSPACE) -> SessionId:
        """A new session."""
        session_id = SessionId(from_seed("sesn_", SEEDS.seed()))
        command = CreateSession(
            session_id=session_id,
            workspace_id=workspace_id,
            primary_thread_id=ThreadId(from_seed("sthr_", SEEDS.seed())),
            agent=agent(),
            environment_id=EnvironmentId("env_test"),
            environment_config=CloudConfig(),
            initial_events=events,
        )
        await self.services.store.create(session_id, command)
        return session_id

    async def create_input(self, session_id: SessionId, text: str) -> None:
        """Send one message."""
        await self.services.store.execute(session_id, WORKSPACE, SendEvents((message(text),)))

    async def delete(self, session_id: SessionId) -> None:
        """Delete the session and all of it."""
        executed = await self.services.store.execute(session_id, WORKSPACE, DeleteSession())
        assert executed.decision.record is not None
        last = executed.decision.record.entries[-1].event.model_dump_json().encode()
        await self.services.deletion.carry_out(Deletion(session_id, WORKSPACE, executed.sequence, last))

    def brain(self, session_id: SessionId) -> Brain:
        """A brain for the session."""
        return Brain(self.log, session_id)

    async def preview(self, session_id: SessionId, after_sequence: int, event: dict[str, object]) -> None:
        """Publish a token delta."""
        body = orjson.dumps({"after": after_sequence, "thread": None, "event": event})
        await self.connection.publish(subjects.delta(session_id), body)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    """Session services over a server of their own."""
    spec = nats_server.ServerSpec(folder=folder / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], name="test", token=server.token, within_s=WAIT_S)
        try:
            await streams.declare(connection)
            made = build(connection, folder)
            await made.services.start()
            try:
                yield made
            finally:
                await made.services.stop()
        finally:
            await connection.close()


def build(connection: Connection, folder: Path) -> Rig:
    """Session services that are not started yet."""
    blobs = LocalFolderBlobs(folder / "blobs")
    log = JetStreamSessionLog(connection, blobs)
    control_log = JetStreamControlLog(connection)
    parts = SessionParts(
        log=log,
        feed=JetStreamFeed(connection, subjects.SESSIONS),
        control_log=control_log,
        blobs=blobs,
        connection=connection,
        clock=CLOCK,
        ids=SEEDS,
        index_dir=folder / "gateway",
    )
    return Rig(connection, log, control_log, blobs, SessionServices(parts), folder)


def frames_of(data: bytes) -> list[dict[str, object]]:
    """The events of complete frames; comments are left out."""
    found = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line.startswith("data: ")]
        if lines:
            found.append(orjson.loads(lines[0].removeprefix("data: ")))
    return found


async def read_until(reader: Reader, done: Callable[[list[dict[str, object]]], bool]) -> list[dict[str, object]]:
    """Events that a reader gets until there are enough of them, or until its stream ends."""
    seen: list[dict[str, object]] = []
    async with asyncio.timeout(WAIT_S):
        async with aclosing(reader.chunks(WAIT_S)) as chunks:
            async for chunk in chunks:
                seen.extend(frames_of(chunk))
                if done(seen):
                    break
    return seen
