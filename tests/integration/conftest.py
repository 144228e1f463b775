"""One real server and one scripted model per test process; tests keep apart by sessions of their own."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    with scripted_model() as url:
        yield url


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_url: str) -> Iterator[EfferentServer]:
    running = EfferentServer(tmp_path_factory.mktemp("efferent") / "data", model_environ(model_url))
    running.start()
    yield running
    code = running.stop()
    assert code == 0, running.tail()


def model_environ(url: str) -> dict[str, str]:
    """Variables by which the server finds the scripted model."""
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "test-provider-key",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "test-provider-key",
        "HOME": os.environ.get("HOME", str(Path.home())),
    }


@pytest.fixture
async def client(server: EfferentServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk
