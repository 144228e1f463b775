"""Puts the brain together: adapters meet ports here and nowhere else."""

import asyncio
import logging
import os
from functools import partial
from typing import Final

from efferent.brain.adapters.grpc_hands import GrpcHands
from efferent.brain.adapters.session_memories import SessionMemories
from efferent.brain.file_shower import FileShower
from efferent.brain.furnishing import Furnisher
from efferent.brain.keeping import Keeper
from efferent.brain.models.assembly import build_models
from efferent.brain.performer import Performer
from efferent.brain.roster import Roster
from efferent.brain.session_cache import SessionCache
from efferent.brain.settings import BrainSettings
from efferent.brain.snapshots import Snapshots
from efferent.brain.worker import Desk
from efferent.common import session_writing
from efferent.common.blobs.opening import open_blobs
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.ids import BrainId, from_seed
from efferent.common.domain.model_catalog import traits_of
from efferent.common.domain.usage import ModelUsage
from efferent.common.files.store import FileStore
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, Message, Subscription, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.inbound import ConsumerSpec, JetStreamInboundConsumer
from efferent.common.jetstream.live import PresenceBeacon, PresenceBoard, TokenDeltas
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.memory.store import MemoryStores
from efferent.common.model_config import ModelConfigs, UnknownModel, load
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics

WRITE_DEADLINE_S: Final = 5.0
"""How long a write to the control log is decided again after conflicts."""

logger = logging.getLogger("efferent.brain")


def build(settings: BrainSettings) -> "Brain":
    """The brain with these settings, not yet started."""
    return Brain(settings)


class ConfiguredFacts:
    """What the configuration and the catalog know about models."""

    def __init__(self, configs: ModelConfigs) -> None:
        self.configs = configs

    def context_window_tokens(self, model_id: str) -> int:
        """Size of the model's context window; the catalog's default when no provider takes the id any more."""
        try:
            return self.configs.traits(model_id).context_window
        except UnknownModel:
            return traits_of(model_id).context_window

    def list_cost_micro_usd(self, model_id: str, usage: ModelUsage) -> int | None:
        """List price of one request; None when the model has no list price."""
        return self.configs.list_cost_micro_usd(model_id, usage)


class Brain:
    """Takes turns: one process, many sessions."""

    def __init__(self, settings: BrainSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._ids = RandomSeeds()
        self.brain_id = BrainId(from_seed("brain_", self._ids.seed()))
        self._facts = ConfiguredFacts(load(os.environ))
        self._models = build_models(self._facts.configs, os.environ)
        self._hands = GrpcHands(settings.hands_address)
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Connection | None = None
        self._watching: Subscription | None = None
        self._inbound: JetStreamInboundConsumer | None = None
        self._roster: Roster | None = None
        self._snapshots: Snapshots | None = None
        self._board: PresenceBoard | None = None
        self._beacon: PresenceBeacon | None = None

    async def start(self) -> None:
        """Connect and begin to work. Everything slow, imports included, is done before this returns."""
        await self._models.start()
        nats = self._settings.nats
        connection = await connect(nats.servers(), name="brain", token=nats.token_text())
        self._connection = connection
        await streams.declare(connection, replicas=self._settings.replicas)
        blobs = open_blobs(self._settings.blobs, self._settings.machine.data_dir)
        log = JetStreamSessionLog(connection, blobs)
        self._board = PresenceBoard(connection, self._clock)
        await self._board.start()
        deltas = TokenDeltas(connection)
        control_log = JetStreamControlLog(connection)
        aggregates = Aggregates(
            control_log, LogSets(control_log), self._clock, Metrics(), write_deadline_s=WRITE_DEADLINE_S
        )
        memories = SessionMemories(MemoryStores(aggregates, control_log, blobs, self._ids))
        furnisher = Furnisher(self._hands, memories)
        files = FileStore(aggregates, blobs, self._clock, self._ids)
        performer = Performer(
            self._models,
            self._facts,
            self._hands,
            furnisher,
            FileShower(files),
            self._clock,
            self._settings,
            deltas.publish,
        )
        snapshots = self._snapshots = Snapshots(blobs, log)
        desk = Desk(
            brain_id=self.brain_id,
            log=log,
            performer=performer,
            keeper=Keeper(self._hands, furnisher, files, memories, partial(session_writing.was_deleted, control_log)),
            cache=SessionCache(self._settings.cached_sessions_max),
            snapshots=snapshots,
            presence=self._board,
            clock=self._clock,
            ids=self._ids,
            settings=self._settings,
        )
        self._inbound = JetStreamInboundConsumer(connection, blobs, ConsumerSpec(ack_wait_s=self._settings.ack_wait_s))
        await self._inbound.declare()
        roster = Roster(desk, self._inbound)
        self._roster = roster
        self._beacon = PresenceBeacon(connection, self.brain_id, lambda: roster.session_ids)
        await self._beacon.start()
        self._watching = await connection.subscribe(subjects.live(subjects.SESSIONS_IN), self._committed)
        self._tasks = [
            asyncio.create_task(roster.serve(), name="deliveries"),
            asyncio.create_task(roster.keep_alive(), name="in progress"),
        ]
        logger.info("brain started", extra={"brain_id": self.brain_id})

    def _committed(self, message: Message) -> None:
        """A client's record was committed: its session's holder sees it at once, whichever brain it is delivered to."""
        if self._roster is not None:
            session_id, _ = subjects.parse_live_session(message.subject)
            self._roster.committed(session_id, int(message.headers.get("Nats-Sequence", 0)))

    async def drain(self) -> None:
        """Take no more; what is held goes to another brain at once."""
        if self._inbound is not None:
            await self._inbound.close()
        if self._roster is not None:
            await self._roster.drain()
        if self._beacon is not None:
            await self._beacon.stop()

    async def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._snapshots is not None:
            await self._snapshots.close()
        if self._watching is not None:
            await self._watching.end()
        if self._board is not None:
            await self._board.stop()
        await self._hands.close()
        await self._models.close()
        if self._connection is not None:
            await self._connection.close()
