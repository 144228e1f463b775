"""Real hands for tests: the service with its launcher, gRPC and sandboxes, in a folder of the test's own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from efferent.hands.app import build
from efferent.hands.settings import HandsSettings
from services.hands.tests.hands_client import Client, Running, Start


@pytest.fixture
async def start_hands(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts hands with the given settings; stops them after the test."""
    async with AsyncExitStack() as stack:

        async def start(data_dir: Path = tmp_path, **overrides: object) -> Running:
            values: dict[str, object] = {"listen": "127.0.0.1:0", "data_dir": data_dir, **overrides}
            service = build(HandsSettings.model_validate(values))
            stack.push_async_callback(service.stop)
            await service.start()
            client = Client(f"127.0.0.1:{service.port}")
            stack.push_async_callback(client.close)
            return Running(service, client, data_dir)

        yield start


@pytest.fixture(params=["bubblewrap", "process"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn: one contract for both."""
    return str(request.param)


@pytest.fixture
async def hands(start_hands: Start, backend: str) -> Running:
    """Started hands with each backend in turn."""
    return await start_hands(backend=backend)


@pytest.fixture
async def client(hands: Running) -> Client:
    """A client of hands with each backend in turn."""
    return hands.client
