"""Puts the automation together: its reactors are listed here and nowhere else."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Final

from efferent.automation.deployments.reactor import Deployments
from efferent.automation.dreams.reactor import Dreams
from efferent.automation.reactor import Desk, Reactor
from efferent.automation.settings import AutomationSettings
from efferent.automation.subscriptions import Subscriptions
from efferent.automation.webhooks.reactor import WebhookReactor
from efferent.automation.work.reactor import WorkReactor
from efferent.common.blobs.opening import open_blobs
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.model_config import ModelConfigs, load
from efferent.common.ports import Clock
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics

WRITE_DEADLINE_S: Final = 5.0
"""How long a change is tried again after conflicts."""

logger = logging.getLogger("efferent.automation")


def build(
    settings: AutomationSettings, *, clock: Clock | None = None, environ: Mapping[str, str] = os.environ
) -> "Automation":
    """The automation with these settings, not yet started. Raises ModelConfigError when the models file is wrong."""
    return Automation(settings, clock or SystemClock(), load(environ))


def reactors(desk: Desk) -> Sequence[Reactor]:
    """Every part of the automation."""
    return (Deployments(desk), WorkReactor.at(desk), WebhookReactor(desk), Dreams(desk))


class Automation:
    """Does what has to happen by itself: one process, any number of them share the work."""

    def __init__(self, settings: AutomationSettings, clock: Clock, models: ModelConfigs) -> None:
        self._settings = settings
        self._models = models
        self._clock = clock
        self._connection: Connection | None = None
        self._subscriptions: Subscriptions | None = None
        self._reactors: Sequence[Reactor] = ()

    async def start(self) -> None:
        """Connect and begin to work."""
        nats = self._settings.nats
        connection = self._connection = await connect(nats.servers(), name="automation", token=nats.token_text())
        await streams.declare(connection, replicas=self._settings.replicas)
        blobs = open_blobs(self._settings.blobs, self._settings.machine.data_dir)
        control = JetStreamControlLog(connection)
        desk = Desk(
            connection=connection,
            control=control,
            sessions=JetStreamSessionLog(connection, blobs),
            blobs=blobs,
            aggregates=Aggregates(control, LogSets(control), self._clock, Metrics(), write_deadline_s=WRITE_DEADLINE_S),
            models=self._models,
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
