"""Puts the automation together: its reactors are listed here and nowhere else."""

import logging
from collections.abc import Sequence

from efferent.automation.reactor import Desk, Reactor
from efferent.automation.settings import AutomationSettings
from efferent.automation.subscriptions import Subscriptions
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import Clock
from efferent.common.runtime.clock import RandomSeeds, SystemClock

logger = logging.getLogger("efferent.automation")


def build(settings: AutomationSettings, *, clock: Clock | None = None) -> "Automation":
    """The automation with these settings, not yet started."""
    return Automation(settings, clock or SystemClock())


def reactors(desk: Desk) -> Sequence[Reactor]:
    """Every part of the automation."""
    return ()


class Automation:
    """Does what has to happen by itself: one process, any number of them share the work."""

    def __init__(self, settings: AutomationSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._connection: Connection | None = None
        self._subscriptions: Subscriptions | None = None
        self._reactors: Sequence[Reactor] = ()

    async def start(self) -> None:
        """Connect and begin to work."""
        nats = self._settings.nats
        connection = self._connection = await connect(nats.servers(), name="automation", token=nats.token_text())
        await streams.declare(connection, replicas=self._settings.replicas)
        blobs = LocalFolderBlobs(self._settings.machine.data_dir / "blobs")
        desk = Desk(
            connection=connection,
            control=JetStreamControlLog(connection),
            sessions=JetStreamSessionLog(connection, blobs),
            blobs=blobs,
            clock=self._clock,
            ids=RandomSeeds(),
            settings=self._settings,
        )
        self._reactors = reactors(desk)
        wanted = [subscription for reactor in self._reactors for subscription in reactor.subscriptions()]
        self._subscriptions = Subscriptions(connection, nats, wanted)
        await self._subscriptions.declare()
        for reactor in self._reactors:
            await reactor.start()
        await self._subscriptions.start()
        logger.info("automation started")

    async def drain(self) -> None:
        """Take in no more; what is not finished is delivered to another replica, or again after the next start."""
        if self._subscriptions is not None:
            await self._subscriptions.drain()
        for reactor in self._reactors:
            await reactor.drain()

    async def stop(self) -> None:
        """Close everything."""
        if self._subscriptions is not None:
            await self._subscriptions.drain()
        for reactor in self._reactors:
            await reactor.stop()
        if self._connection is not None:
            await self._connection.close()
