"""The checks of ``/readyz`` that are not some component's own."""

from typing import Final

from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.live import PresenceBoard
from efferent.common.ports import BlobStore, BlobsUnavailable, ControlLog, LogUnavailable
from efferent.gateway.context import ReadinessCheck
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.errors import Overloaded
from efferent.gateway.log_health import LogHealth

CHECK_WAIT_S: Final = 1.0
"""How long a check waits for a projection to reach what the log held when it was asked."""


def nats_connected(connection: Connection) -> ReadinessCheck:
    """The connection stands."""

    async def check() -> str | None:
        return None if connection.is_connected else "not connected to NATS"

    return check


def blobs_writable(blobs: BlobStore) -> ReadinessCheck:
    """Files and large records can be stored."""

    async def check() -> str | None:
        try:
            await blobs.check()
        except BlobsUnavailable as error:
            return str(error)
        return None

    return check


def log_writable(health: LogHealth, connection: Connection, control_log: ControlLog) -> ReadinessCheck:
    """The log takes appends."""

    async def check() -> str | None:
        return await health.check(connection, control_log)

    return check


def control_caught_up(projection: ControlProjection, control_log: ControlLog) -> ReadinessCheck:
    """Lists of agents and environments are up to date."""

    async def check() -> str | None:
        try:
            last = await control_log.last_sequence()
        except LogUnavailable:
            return "the log does not answer"
        try:
            await projection.progress.reach(last, CHECK_WAIT_S)
        except Overloaded:
            return f"{last - projection.progress.applied} records behind"
        return None

    return check


def brain_present(board: PresenceBoard) -> ReadinessCheck:
    """Some brain is alive."""

    async def check() -> str | None:
        return None if board.alive() else "no brain is running"

    return check
