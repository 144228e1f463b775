"""A cluster of three nats-servers on this machine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from efferent.common.jetstream import api
from efferent.common.jetstream.connection import Connection
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ClusterSpec, RunningServer, ServerSpec

SERVERS: Final = 3


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Mapping[str, RunningServer]]:
    """Three servers by their names, which know each other and take the same token."""
    token = nats_server.new_token()
    routes = tuple(free_port() for _ in range(SERVERS))
    servers: dict[str, RunningServer] = {}
    async with AsyncExitStack() as stack:
        for index, route in enumerate(routes):
            spec = ServerSpec(
                folder=folder / f"nats-{index}",
                port=free_port(),
                token=token,
                name=f"nats-{index}",
                cluster=ClusterSpec(port=route, route_ports=routes),
            )
            servers[spec.name] = await stack.enter_async_context(nats_server.running(spec))
        yield servers


async def leader(servers: Mapping[str, RunningServer], connection: Connection, stream: str) -> RunningServer:
    """The server that leads a stream. Raises LogUnavailable."""
    info = await api.call(connection, f"STREAM.INFO.{stream}", {})
    return servers[info["cluster"]["leader"]]
