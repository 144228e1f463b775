"""The server that a storm blows over."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.efferent_server import EfferentServer


@contextlib.contextmanager
def storm_server(folder: Path, model_url: str) -> Iterator[EfferentServer]:
    """A server of its own, with no provider but the scripted model; stopped at the end whatever happened."""
    server = EfferentServer(folder / "data", {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "provider-key"})
    try:
        server.start()
        yield server
    finally:
        server.stop()
