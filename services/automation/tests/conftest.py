"""A nats-server for each test that needs one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import RunningServer, ServerSpec
from efferent.common.runtime.settings import NatsSettings


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A running server."""
    spec = ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as running:
        yield running


@pytest.fixture
def nats(server: RunningServer) -> NatsSettings:
    """How a service finds it."""
    return NatsSettings.model_validate({"url": server.url, "token": server.token})


@pytest.fixture
async def connection(server: RunningServer) -> AsyncIterator[Connection]:
    """A connection to it, streams declared."""
    opened = await connect([server.url], token=server.token, name="test", within_s=10)
    await streams.declare(opened)
    yield opened
    await opened.close()
