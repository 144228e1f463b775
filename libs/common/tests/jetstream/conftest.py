"""A server of its own for each test that kills, fills or reconfigures one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.ports import IdSource
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import RunningServer, ServerSpec


@pytest.fixture
def source() -> IdSource:
    """Fresh ids."""
    return RandomSeeds()


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    """A server that does not run yet."""
    return ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())


@pytest.fixture
async def server(spec: ServerSpec) -> AsyncIterator[RunningServer]:
    """A running server."""
    async with nats_server.running(spec) as running:
        yield running


@pytest.fixture
async def connection(server: RunningServer) -> AsyncIterator[Connection]:
    """A connection to it, streams declared."""
    opened = await connect([server.url], token=server.token, name="test", within_s=10)
    await streams.declare(opened)
    yield opened
    await opened.close()
