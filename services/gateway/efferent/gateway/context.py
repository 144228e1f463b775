"""What every request handler may use, in one place, and who is calling."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.jetstream.connection import Connection
from efferent.common.memory.store import MemoryStores
from efferent.common.model_config import ModelConfigs
from efferent.common.ports import BlobStore, Clock, ControlLog, Feed, IdSource, SessionLog
from efferent.common.runtime.metrics import Metrics
from efferent.common.session_resources import ResourceAttacher
from efferent.gateway.access.principals import ApiKeyHolder, Principal
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.files.services import FileServices
from efferent.gateway.settings import GatewaySettings
from efferent.gateway.vault_services import VaultServices


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request carries."""

    organization_id: str
    workspace_id: WorkspaceId
    key_id: ApiKeyId
    """The key; of a sessions token, the key that claimed its work item."""
    principal: Principal = field(default_factory=ApiKeyHolder)

    @property
    def actor(self) -> Actor:
        """On whose behalf aggregates are changed."""
        return Actor(self.workspace_id, self.key_id)


ReadinessCheck = Callable[[], Awaitable[str | None]]
"""Answers None when all is well, else what is wrong."""


@dataclass(slots=True)
class Readiness:
    """What ``/readyz`` asks; each component adds its own."""

    checks: dict[str, ReadinessCheck] = field(default_factory=dict)

    def add(self, name: str, check: ReadinessCheck) -> None:
        """Add a check under a name that is not taken."""
        if name in self.checks:
            raise ValueError(f"there is a readiness check {name!r} already")
        self.checks[name] = check


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """The parts of a running gateway."""

    settings: GatewaySettings
    clock: Clock
    ids: IdSource
    models: ModelConfigs
    session_log: SessionLog
    sessions_feed: Feed
    control_log: ControlLog
    blobs: BlobStore
    connection: Connection
    control: ControlProjection
    aggregates: Aggregates
    vaults: VaultServices
    file_services: FileServices
    attacher: ResourceAttacher
    memories: MemoryStores
    metrics: Metrics
    readiness: Readiness


CONTEXT: Final = web.AppKey("efferent.context", GatewayContext)
CALLER: Final = web.RequestKey("efferent.caller", Caller)
REQUEST_ID: Final = web.RequestKey("efferent.request_id", str)


def context_of(request: web.Request) -> GatewayContext:
    """The gateway that serves this request."""
    return request.app[CONTEXT]


def caller_of(request: web.Request) -> Caller:
    """Who asks; every ``/v1`` handler may rely on it."""
    return request[CALLER]
