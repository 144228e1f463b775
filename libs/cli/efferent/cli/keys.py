"""``efferent keys``: makes API keys in the log of a running server."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from efferent.cli.data_folder import read_nats_access
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import data_dir
from efferent.common import api_keys
from efferent.common.jetstream.connection import connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.streams import declare
from efferent.common.ports import ControlLog, LogUnavailable
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.settings import NatsSettings

_CONNECT_WITHIN_S: Final = 5.0


def main(arguments: argparse.Namespace) -> int:
    """Make a key and print it, alone on standard output. Raises CommandError."""
    try:
        key, known = asyncio.run(_create(arguments.name))
    except LogUnavailable as error:
        raise CommandError(f"the log does not answer ({error}); is the server running?") from error
    print(f"efferent: {known.id} ({known.name}); this is the only time that the key is shown", file=sys.stderr)
    print(key)
    return 0


async def _create(name: str) -> tuple[str, api_keys.ApiKey]:
    async with control_log(log_settings(os.environ)) as log:
        return await api_keys.create_key(log, name=name, clock=SystemClock())


def log_settings(environ: Mapping[str, str]) -> NatsSettings:
    """Where the log is: ``NATS_URL``, else the nats-server of the data folder. Raises CommandError."""
    if environ.get("NATS_URL"):
        return NatsSettings()
    data = data_dir(environ)
    access = read_nats_access(data)
    if access is None:
        raise CommandError(
            f"no server ever ran on the data folder {data}: start 'efferent up', or set EFFERENT_DATA_DIR"
        )
    return NatsSettings.model_validate({"url": access.url, "token": access.token})


@asynccontextmanager
async def control_log(settings: NatsSettings, *, replicas: int | None = None) -> AsyncIterator[ControlLog]:
    """The control log for the length of the block; its stream is made first when ``replicas`` says how.

    Raises LogUnavailable.
    """
    connection = await connect(
        settings.servers(), name="efferent keys", token=settings.token_text(), within_s=_CONNECT_WITHIN_S
    )
    try:
        if replicas is not None:
            await declare(connection, replicas=replicas)
        yield JetStreamControlLog(connection)
    finally:
        await connection.close()
