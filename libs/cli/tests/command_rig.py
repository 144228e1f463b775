"""Commands against a real nats-server, called in the process of the test."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from efferent.cli.children import greeted
from efferent.cli.log_access import connected, log_settings
from efferent.cli.main import main
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.streams import declare
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec

WITHIN_S: Final = 20.0


@contextmanager
def serving(folder: Path) -> Iterator[ServerSpec]:
    """A nats-server with the streams, for the length of the block."""
    spec = ServerSpec(folder=folder, port=free_port(), token=nats_server.new_token())
    nats_server.prepare(spec)
    with subprocess.Popen(nats_server.command(spec), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(_ready(spec))
            yield spec
        finally:
            process.kill()


async def _ready(spec: ServerSpec) -> None:
    async with asyncio.timeout(WITHIN_S):
        await greeted(spec.port)


def environ_of(spec: ServerSpec, data_dir: Path) -> dict[str, str]:
    """What a command has to know to find the server."""
    return {
        "NATS_URL": f"nats://127.0.0.1:{spec.port}",
        "EFFERENT_NATS_TOKEN": spec.token,
        "EFFERENT_DATA_DIR": str(data_dir),
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """One command: its exit code and what it printed."""
    code = main(arguments)
    printed = capsys.readouterr()
    return code, printed.out.strip(), printed.err.strip()


def with_log[T](use: Callable[[JetStreamControlLog], Awaitable[T]]) -> T:
    """What ``use`` makes of the control log that the commands find."""

    async def using() -> T:
        async with connected(log_settings(os.environ)) as connection:
            await declare(connection)
            return await use(JetStreamControlLog(connection))

    return asyncio.run(using())
