"""The control log of a running server, for commands that read or change it from outside."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from efferent.cli.data_folder import read_nats_access
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import data_dir
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.streams import declare
from efferent.common.ports import ControlLog, LogError
from efferent.common.runtime.settings import NatsSettings

CONNECT_WITHIN_S: Final = 5.0


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
async def connected(settings: NatsSettings) -> AsyncIterator[Connection]:
    """A connection for the length of the block. Raises LogUnavailable."""
    connection = await connect(
        settings.servers(), name="efferent command", token=settings.token_text(), within_s=CONNECT_WITHIN_S
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def control_log(settings: NatsSettings, *, replicas: int | None = None) -> AsyncIterator[ControlLog]:
    """The control log for the length of the block; its stream is made first when ``replicas`` says how.

    Raises LogUnavailable.
    """
    async with connected(settings) as connection:
        if replicas is not None:
            await declare(connection, replicas=replicas)
        yield JetStreamControlLog(connection)


def refusal(error: LogError) -> CommandError:
    """What to tell somebody whose command the log did not carry out."""
    return CommandError(f"the log does not answer ({error}); is the server running?")
