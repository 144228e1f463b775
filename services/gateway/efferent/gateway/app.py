"""The gateway's composition root: adapters are made and joined here and nowhere else."""

import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from efferent.common import model_config
from efferent.common.blobs.opening import open_blobs
from efferent.common.blobs.sweep import BlobSweep
from efferent.common.control.aggregates import Aggregates
from efferent.common.domain.ids import from_seed
from efferent.common.files.store import FileStore
from efferent.common.jetstream import connection as nats
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.leases import JetStreamLeases
from efferent.common.jetstream.live import PresenceBoard
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.memory.store import MemoryStores
from efferent.common.model_config import ModelConfigs
from efferent.common.ports import Clock, IdSource
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.session_resources import ResourceAttacher
from efferent.common.skills.store import SkillStore
from efferent.gateway import middleware, readiness_checks
from efferent.gateway.access.authorisation import Authorisation
from efferent.gateway.access.key_ring import KEYS, KeyRing
from efferent.gateway.adapters.hands import GatewayHands
from efferent.gateway.context import CONTEXT, GatewayContext, Readiness
from efferent.gateway.control.following import ControlFollower
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.files.services import FileServices
from efferent.gateway.files.storage_room import StorageRoom
from efferent.gateway.http_server import HttpServer
from efferent.gateway.log_health import LogHealth, WatchedControlLog, WatchedSessionLog
from efferent.gateway.routes import (
    agents,
    credentials,
    deployment_runs,
    deployments,
    dreams,
    environment_keys,
    environments,
    events,
    files,
    health,
    memories,
    memory_stores,
    memory_versions,
    models,
    openapi,
    resources,
    sessions,
    skills,
    threads,
    user_profiles,
    vaults,
    webhooks,
    work,
)
from efferent.gateway.sessions.deletion import Sandboxes
from efferent.gateway.sessions.services import SESSIONS, SessionParts, SessionServices
from efferent.gateway.settings import GatewaySettings
from efferent.gateway.vault_services import VaultServices
from efferent.gateway.work.services import WORK, WorkParts, WorkServices

CONNECT_WITHIN_S: Final = 30.0
CATCH_UP_STALLED_S: Final = 60.0
CONTROL_FILE: Final = "control.sqlite"

_log = logging.getLogger(__name__)


def all_routes() -> Sequence[web.AbstractRouteDef]:
    """Every route of the gateway; a new resource adds its file here."""
    return [
        *health.routes(),
        *openapi.routes(),
        *agents.routes(),
        *files.routes(),
        *skills.routes(),
        *environments.routes(),
        *deployments.routes(),
        *deployment_runs.routes(),
        *dreams.routes(),
        *work.routes(),
        *environment_keys.routes(),
        *user_profiles.routes(),
        *vaults.routes(),
        *credentials.routes(),
        *webhooks.routes(),
        *memory_stores.routes(),
        *memories.routes(),
        *memory_versions.routes(),
        *models.routes(),
        *sessions.routes(),
        *events.routes(),
        *threads.routes(),
        *resources.routes(),
    ]


def build(
    settings: GatewaySettings,
    *,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    environ: Mapping[str, str] = os.environ,
) -> "Gateway":
    """A gateway that is not started yet. Raises ModelConfigError when the models file is wrong."""
    return Gateway(settings, clock or SystemClock(), ids or RandomSeeds(), model_config.load(environ))


class Gateway:
    """The service."""

    def __init__(self, settings: GatewaySettings, clock: Clock, ids: IdSource, models: ModelConfigs) -> None:
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._models = models
        self._log_health = LogHealth(settings.machine.data_dir)
        self._connection: nats.Connection | None = None
        self._control: ControlProjection | None = None
        self._follower: ControlFollower | None = None
        self._presence: PresenceBoard | None = None
        self._sessions: SessionServices | None = None
        self._work: WorkServices | None = None
        self._hands: GatewayHands | None = None
        self._http: HttpServer | None = None
        self._vaults: VaultServices | None = None
        self._files: FileServices | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._http is None:
            raise RuntimeError("the gateway does not listen")
        return self._http.port

    async def start(self) -> None:
        """Connect, listen, and return once lists are as far as the log.

        Raises LogUnavailable, Overloaded, OSError, WrongRootKey, BadRootKey, BadAllowList.
        """
        settings = self._settings
        connection = self._connection = await nats.connect(
            settings.nats.servers(), name="gateway", token=settings.nats.token_text(), within_s=CONNECT_WITHIN_S
        )
        await streams.declare(connection, replicas=settings.replicas)
        context = await self._make_context(connection)
        if settings.hands_address is not None:
            self._hands = GatewayHands(settings.hands_address, self._clock)
        keys = KeyRing(context.control_log, self._clock)
        session_services = self._sessions = _session_services(context, self._hands)
        work_services = self._work = _work_services(context, session_services)
        self._follower = ControlFollower(
            JetStreamFeed(connection, subjects.CONTROL),
            context.control,
            [keys, session_services.tombstones],
            context.metrics,
        )
        await self._add_checks(context, session_services)
        await context.vaults.start()
        context.readiness.add("work", work_services.check)
        await session_services.start()
        await work_services.start()
        self._follower.start()
        context.file_services.start(session_services.store.attached_files)
        authorisation = Authorisation(session_services.store, work_services, keys, self._clock)
        app = self._application(context, keys, session_services, authorisation)
        app[WORK] = work_services
        await self._listen(app)
        await context.control.catch_up_however_long(CATCH_UP_STALLED_S)

    async def drain(self) -> None:
        """Take no more connections, end streams, and let open requests finish."""
        if self._http is not None:
            self._http.close_socket()
        if self._sessions is not None:
            self._sessions.drain()
        if self._http is not None:
            await self._http.stop()

    async def stop(self) -> None:
        """Close everything. Safe after a failed start."""
        if self._http is not None:
            await self._http.stop()
        if self._files is not None:
            await self._files.stop()
        if self._follower is not None:
            await self._follower.stop()
        if self._work is not None:
            await self._work.stop()
        if self._sessions is not None:
            await self._sessions.stop()
        if self._control is not None:
            await self._control.close()
        if self._hands is not None:
            await self._hands.close()
        if self._presence is not None:
            await self._presence.stop()
        if self._vaults is not None:
            await self._vaults.stop()
        if self._connection is not None:
            await self._connection.close()

    async def _make_context(self, connection: nats.Connection) -> GatewayContext:
        settings = self._settings
        blobs = open_blobs(settings.blobs, settings.machine.data_dir)
        control_log = WatchedControlLog(JetStreamControlLog(connection), self._log_health)
        metrics = Metrics()
        control = self._control = ControlProjection(
            settings.projection_dir / CONTROL_FILE, control_log, behind_wait_s=settings.behind_wait_s
        )
        identity = await streams.identity(connection, subjects.CONTROL)
        await control.open(identity)
        aggregates = Aggregates(control_log, control, self._clock, metrics, write_deadline_s=settings.write_deadline_s)
        session_log = JetStreamSessionLog(connection, blobs)
        self._vaults = VaultServices(
            aggregates,
            connection,
            control_log,
            session_log,
            settings.secrets.root_keys(settings.machine.data_dir),
            settings.organization.mcp_policy(),
            self._clock,
            self._ids,
        )
        store = FileStore(aggregates, blobs, self._clock, self._ids, bytes_max=settings.files.bytes_max)
        self._files = FileServices(
            settings.files,
            store,
            SkillStore(aggregates, blobs, self._ids),
            BlobSweep(blobs, control_log, session_log, store, self._clock, log_identity=identity),
            StorageRoom(settings.files.storage_bytes_max, control, JetStreamLeases(connection), self._clock, self._ids),
        )
        return GatewayContext(
            settings=settings,
            clock=self._clock,
            ids=self._ids,
            models=self._models,
            session_log=WatchedSessionLog(session_log, self._log_health),
            sessions_feed=JetStreamFeed(connection, subjects.SESSIONS),
            control_log=control_log,
            blobs=blobs,
            connection=connection,
            control=control,
            aggregates=aggregates,
            vaults=self._vaults,
            file_services=self._files,
            attacher=ResourceAttacher(aggregates, store, self._vaults.box),
            memories=MemoryStores(aggregates, control_log, blobs, self._ids),
            metrics=metrics,
            readiness=Readiness(),
        )

    async def _add_checks(self, context: GatewayContext, session_services: SessionServices) -> None:
        self._presence = PresenceBoard(context.connection, self._clock)
        await self._presence.start()
        readiness = context.readiness
        readiness.add("nats", readiness_checks.nats_connected(context.connection))
        readiness.add("blobs", readiness_checks.blobs_writable(context.blobs))
        log_writable = readiness_checks.log_writable(self._log_health, context.connection, context.control_log)
        readiness.add("log", log_writable)
        readiness.add("control", readiness_checks.control_caught_up(context.control, context.control_log))
        readiness.add("sessions", session_services.check)
        readiness.add("brain", readiness_checks.brain_present(self._presence))
        if self._hands is not None:
            readiness.add("hands", self._hands.check)

    def _application(
        self,
        context: GatewayContext,
        keys: KeyRing,
        session_services: SessionServices,
        authorisation: Authorisation,
    ) -> web.Application:
        app = web.Application(
            middlewares=[middleware.make(context, keys, authorisation)], client_max_size=self._settings.body_bytes_max
        )
        app[CONTEXT] = context
        app[KEYS] = keys
        app[SESSIONS] = session_services
        app.on_response_prepare.append(middleware.add_headers)
        app.add_routes(all_routes())
        return app

    async def _listen(self, app: web.Application) -> None:
        settings = self._settings
        self._http = HttpServer(app, new_request_id=self._new_request_id, shutdown_wait_s=settings.shutdown_wait_s)
        await self._http.start(settings.host, settings.port, _tls(settings))

    def _new_request_id(self) -> str:
        return from_seed("req_", self._ids.seed())


def _session_services(context: GatewayContext, sandboxes: Sandboxes | None) -> SessionServices:
    return SessionServices(
        SessionParts(
            log=context.session_log,
            feed=context.sessions_feed,
            control_log=context.control_log,
            blobs=context.blobs,
            connection=context.connection,
            clock=context.clock,
            ids=context.ids,
            index_dir=context.settings.projection_dir,
            behind_wait_s=context.settings.behind_wait_s,
            write_deadline_s=context.settings.write_deadline_s,
            sandboxes=sandboxes,
            belongings=context.attacher,
        )
    )


def _work_services(context: GatewayContext, session_services: SessionServices) -> WorkServices:
    services = WorkServices(
        WorkParts(
            connection=context.connection,
            sessions=session_services.store,
            clock=context.clock,
            ids=context.ids,
            lease_ttl_s=context.settings.work_lease_ttl_s,
            behind_wait_s=context.settings.behind_wait_s,
        )
    )
    session_services.store.tell(services.session_changed)
    return services


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
