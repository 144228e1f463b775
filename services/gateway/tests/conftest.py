"""Fixtures of the gateway's tests: one nats-server per run, one gateway and one workspace per test."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from services.gateway.tests.gateway_rig import Served, ServerAddress, await_greeting, serve


@pytest.fixture(scope="session")
def nats_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """A real nats-server that lives as long as the tests of this process."""
    spec = nats_server.ServerSpec(
        folder=tmp_path_factory.mktemp("nats"), port=free_port(), token=nats_server.new_token()
    )
    nats_server.prepare(spec)
    with subprocess.Popen(nats_server.command(spec), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        await_greeting(spec.port)
        yield ServerAddress(f"nats://127.0.0.1:{spec.port}", spec.token)
        process.kill()


@pytest.fixture
async def served(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway that serves, and a key of a workspace that no other test has."""
    async with serve(nats_address, tmp_path / "data") as running:
        yield running
