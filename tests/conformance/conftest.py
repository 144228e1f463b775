"""One server per test process that is asked for anything at all; its data is nobody else's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.efferent_server import EfferentServer, scripted_model


@pytest.fixture(scope="session")
def fuzzed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EfferentServer]:
    """A whole server; whatever it was asked, its log must not tell of a defect."""
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    with scripted_model() as model_url:
        environ = {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "test-provider-key-fuzzed"}
        server = EfferentServer(folder / "data", environ)
        server.start()
        yield server
        assert server.stop() == 0, server.tail()
        assert server.errors() == [], server.tail()
