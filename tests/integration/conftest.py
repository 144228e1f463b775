"""One real server and one scripted model per test process; tests keep apart by sessions of their own."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model
from tests.support.model_control import ModelControl
from tests.support.raw_api import RawApi

PROVIDER_KEY: Final = "test-provider-key-0f1e2d3c"
MODELS_FILE: Final = """\
providers:
  - name: small-window
    kind: anthropic
    models: ["small/*"]
    base_url: {url}
    api_key_env: ANTHROPIC_API_KEY
    send_as: "{{name}}"
    context_window: 4000
    max_output_tokens: 500
  - name: keyless
    kind: anthropic
    models: ["keyless/*"]
    base_url: {url}
    send_as: "{{name}}"
    api_key_env: A_KEY_THAT_NOBODY_SET
  - name: impatient
    kind: anthropic
    models: ["impatient/*"]
    base_url: {url}
    send_as: "{{name}}"
    api_key_env: ANTHROPIC_API_KEY
    silence_timeout_s: 0.5
"""


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    with scripted_model() as url:
        yield url


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_url: str) -> Iterator[EfferentServer]:
    folder = tmp_path_factory.mktemp("efferent")
    running = EfferentServer(folder / "data", model_environ(model_url, folder))
    running.start()
    yield running
    code = running.stop()
    assert code == 0, running.tail()
    assert running.errors() == [], "whatever clients and models do, nothing of it is a defect of the server"


def model_environ(url: str, folder: Path) -> dict[str, str]:
    """Variables by which the server finds the scripted model. No litellm among them: it takes seconds to import."""
    models = folder / "models.yaml"
    models.write_text(MODELS_FILE.format(url=url))
    return {
        "EFFERENT_MODELS_FILE": str(models),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": PROVIDER_KEY,
        "EFFERENT_WEBHOOK_ALLOW": "127.0.0.1",
        "EFFERENT_MCP_ALLOW": "127.0.0.1",
        "EFFERENT_WORK_LEASE_TTL_S": "40",
        "HOME": os.environ.get("HOME", str(Path.home())),
    }


@pytest.fixture
async def client(server: EfferentServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def model(model_url: str, http: aiohttp.ClientSession) -> ModelControl:
    return ModelControl(model_url, http)


@pytest.fixture
async def raw(server: EfferentServer, http: aiohttp.ClientSession) -> RawApi:
    return RawApi(server.base_url, http)
