"""Three implementations of the log's ports: memory, one embedded server, a cluster of three at three replicas."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.inbound import ConsumerSpec, JetStreamInboundConsumer
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import BlobStore, IdSource
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_inbound import InMemoryDurable, InMemoryInboundConsumer
from efferent.common.testing.in_memory_log import InMemoryControlLog, InMemoryFeed, InMemorySessionLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.log_world import LogWorld
from tests.support.nats_cluster import running_cluster

UNREADABLE_DELAY_S = 0.2


@pytest.fixture
def source() -> IdSource:
    """Ids that no other test on the same server uses."""
    return RandomSeeds()


@pytest.fixture(params=["memory", "server", "cluster"])
def world(request: pytest.FixtureRequest) -> LogWorld:
    """Each implementation in turn."""
    return cast("LogWorld", request.getfixturevalue(f"{request.param}_world"))


@pytest.fixture
def memory_world() -> LogWorld:
    """Everything in memory."""
    sessions, control, blobs = InMemoryStream(), InMemoryStream(), InMemoryBlobs()
    durables: dict[str, InMemoryDurable] = {}

    def open_inbound(name: str, session_id: SessionId, *, ack_wait_s: float) -> InMemoryInboundConsumer:
        durable = durables.setdefault(name, InMemoryDurable(sessions, f"session.{session_id}.in", ack_wait_s))
        return InMemoryInboundConsumer(durable, blobs, unreadable_delay_s=UNREADABLE_DELAY_S)

    async def append_raw(session_id: SessionId, payload: bytes) -> None:
        fence = f"session.{session_id}.*"
        sessions.append(f"session.{session_id}.in", payload, message_id="raw", fence=fence, expected=0)

    return LogWorld(
        name="memory",
        is_replicated=False,
        blobs=blobs,
        sessions=InMemorySessionLog(sessions, blobs),
        control=InMemoryControlLog(control),
        session_feed=InMemoryFeed(sessions),
        control_feed=InMemoryFeed(control),
        open_inbound=open_inbound,
        append_raw=append_raw,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LogWorld]:
    """One embedded server, as on one machine."""
    folder = tmp_path_factory.mktemp("server")
    spec = ServerSpec(folder=folder / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], token=server.token, name="contract", within_s=10)
        await streams.declare(connection)
        yield _jetstream_world("server", connection, LocalFolderBlobs(folder / "blobs"))
        await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LogWorld]:
    """Three embedded servers, streams at three replicas."""
    folder = tmp_path_factory.mktemp("cluster")
    async with running_cluster(folder) as servers:
        urls, token = [server.url for server in servers.values()], next(iter(servers.values())).token
        connection = await connect(urls, token=token, name="contract", within_s=10)
        await streams.declare(connection, replicas=3)
        yield _jetstream_world("cluster", connection, LocalFolderBlobs(folder / "blobs"))
        await connection.close()


def _jetstream_world(name: str, connection: Connection, blobs: BlobStore) -> LogWorld:
    def open_inbound(name: str, session_id: SessionId, *, ack_wait_s: float) -> JetStreamInboundConsumer:
        spec = ConsumerSpec(
            durable=f"{name}-{session_id}", filter_subject=subjects.session(session_id, "in"), ack_wait_s=ack_wait_s
        )
        return JetStreamInboundConsumer(connection, blobs, spec, unreadable_delay_s=UNREADABLE_DELAY_S)

    async def append_raw(session_id: SessionId, payload: bytes) -> None:
        await connection.request(subjects.session(session_id, "in"), payload, timeout_s=5)

    return LogWorld(
        name=name,
        is_replicated=name == "cluster",
        blobs=blobs,
        sessions=JetStreamSessionLog(connection, blobs),
        control=JetStreamControlLog(connection),
        session_feed=JetStreamFeed(connection, subjects.SESSIONS, check_interval_s=0.5),
        control_feed=JetStreamFeed(connection, subjects.CONTROL, check_interval_s=0.5),
        open_inbound=open_inbound,
        append_raw=append_raw,
    )
