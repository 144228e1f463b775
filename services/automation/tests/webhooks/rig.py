"""The webhooks' part of the automation on a real nats-server, in this process, with a clock that tests move."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from efferent.automation.reactor import Desk
from efferent.automation.settings import AutomationSettings
from efferent.automation.subscriptions import Subscriptions
from efferent.automation.webhooks.reactor import WebhookReactor
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, NewEndpoint, SigningSecrets
from efferent.common.domain.control.webhook_endpoint import EndpointCommand
from efferent.common.domain.ids import from_seed
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.domain.webhook_types import WEBHOOK_TYPES, WebhookType
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.jetstream.webhook_queue import WebhookQueue
from efferent.common.model_config import load
from efferent.common.ports import Clock
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.runtime.settings import HostSettings, NatsSettings, OrganizationSettings
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.root_key import SecretSettings

ORGANIZATION: Final = "00000000-0000-4000-8000-00000000000a"
SEEDS: Final = RandomSeeds()
WITHIN_S: Final = 30.0


@dataclass
class Webhooks:
    """A running reactor and what tests change the world with."""

    desk: Desk
    reactor: WebhookReactor
    subscriptions: Subscriptions
    secrets: SigningSecrets

    async def endpoint(self, url: str, *types: WebhookType) -> tuple[WebhookEndpoint, str]:
        """A new endpoint for these types (all, when none is named), and its secret."""
        new = NewEndpoint(from_seed("whep_", SEEDS.seed()), url, types or WEBHOOK_TYPES)
        return await self.secrets.create(None, new)

    async def change(self, endpoint_id: str, command: EndpointCommand) -> WebhookEndpoint:
        """Carry out a command on an endpoint."""
        return await WEBHOOK_ENDPOINTS.change(self.desk.aggregates, Actor(HOME), endpoint_id, command)

    async def read(self, endpoint_id: str) -> WebhookEndpoint:
        """An endpoint as it is now."""
        return await WEBHOOK_ENDPOINTS.get(self.desk.aggregates, HOME, endpoint_id)

    async def end(self) -> None:
        """Stop it as a service is stopped."""
        await self.subscriptions.drain()
        await self.reactor.drain()
        await self.reactor.stop()


@asynccontextmanager
async def running(
    connection: Connection,
    nats: NatsSettings,
    folder: Path,
    *,
    allow: str = "127.0.0.1",
    clock: Clock | None = None,
    **options: Any,
) -> AsyncIterator[Webhooks]:
    """The reactor from start to stop; ``options`` are those of ``WebhookReactor``."""
    webhooks = await started(connection, nats, folder, allow=allow, clock=clock, **options)
    try:
        yield webhooks
    finally:
        await webhooks.end()


async def started(
    connection: Connection,
    nats: NatsSettings,
    folder: Path,
    *,
    allow: str = "127.0.0.1",
    clock: Clock | None = None,
    **options: Any,
) -> Webhooks:
    """A reactor that runs; the caller ends it."""
    clock = clock or SystemClock()
    control = JetStreamControlLog(connection)
    blobs = LocalFolderBlobs(folder / "blobs")
    aggregates = Aggregates(control, LogSets(control), clock, Metrics(), write_deadline_s=5)
    secret = SecretSettings(key=SecretStr(_root_key(folder)))
    desk = Desk(
        connection=connection,
        control=control,
        sessions=JetStreamSessionLog(connection, blobs),
        blobs=blobs,
        aggregates=aggregates,
        models=load({}),
        clock=clock,
        ids=SEEDS,
        settings=AutomationSettings(
            nats=nats,
            machine=HostSettings(data_dir=folder),
            organization=OrganizationSettings(id=ORGANIZATION, webhook_allow=allow),
            secrets=secret,
        ),
    )
    reactor = WebhookReactor(desk, **options)
    subscriptions = Subscriptions(connection, nats, reactor.subscriptions())
    await subscriptions.declare()
    await reactor.start()
    await subscriptions.start()
    box = SecretBox(JetStreamDataKeys(connection), secret.root_keys(folder))
    return Webhooks(desk, reactor, subscriptions, SigningSecrets(aggregates, box))


def _root_key(folder: Path) -> str:
    file = folder / "root"
    if not file.exists():
        file.write_text(root_key.generate())
    return file.read_text()


async def until_empty(connection: Connection, endpoint_id: str) -> None:
    """Wait until nothing waits for the endpoint any more."""

    async def look() -> bool | None:
        return None if await WebhookQueue(connection).waiting(endpoint_id) else True

    await eventually(look)


async def eventually[T](look: Callable[[], Awaitable[T | None]]) -> T:
    """What a look at the stream finds, once it finds something: nothing tells when it changes."""
    async with asyncio.timeout(WITHIN_S):
        for pause_s in itertools.chain((0.0,), itertools.repeat(0.02)):
            await asyncio.sleep(pause_s)
            if (found := await look()) is not None:
                return found
    raise AssertionError("unreachable")
