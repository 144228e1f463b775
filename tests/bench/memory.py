"""Memory of the server's processes."""

from typing import Final

from tests.bench import processes
from tests.bench.figures import Figure
from tests.support.efferent_server import EfferentServer

_MIB: Final = 1024 * 1024


def by_process(server: EfferentServer) -> dict[str, int]:
    """PSS in bytes of the supervisor and of each service with all its descendants, by name."""
    found = {name: processes.pss_bytes(pid) for name, pid in server.pids().items()}
    if server.process is not None:
        found["supervisor"] = processes.pss_bytes(server.process.pid) - sum(found.values())
    return found


def figures(group: str, server: EfferentServer, *, wanted: str = "") -> list[Figure]:
    """One figure per process and their sum."""
    found = by_process(server)
    each = [Figure(group, name, used / _MIB, "MB") for name, used in sorted(found.items())]
    return [*each, Figure(group, "all processes", sum(found.values()) / _MIB, "MB", None, wanted)]
