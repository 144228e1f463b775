"""The server that a storm blows over."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.efferent_server import EfferentServer


@contextlib.contextmanager
def storm_server(folder: Path, model_url: str, *, more_brains: int = 0) -> Iterator[EfferentServer]:
    """A server of its own, with no provider but the scripted model; stopped at the end whatever happened.

    ``more_brains`` run beside the supervised one and are never killed: sessions fail over to them.
    """
    server = EfferentServer(folder / "data", {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "provider-key"})
    try:
        server.start()
        with contextlib.ExitStack() as brains:
            for number in range(more_brains):
                brains.enter_context(server.beside("brain", folder / f"brain-{number}.log"))
            yield server
    finally:
        server.stop()
