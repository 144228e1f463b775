"""Ports for servers that are started on this machine, such as an embedded nats-server."""

import random
import socket
from typing import Final

FIRST: Final = 15_000
BEHIND_LAST: Final = 32_000
"""Below the ports that Linux (32768) and macOS (49152) give to clients by themselves. In their range a client that
reaches for a server that is down may be given the very port: it is connected to itself, and the server cannot
start."""
TRIES_MAX: Final = 1_000

_random = random.SystemRandom()


class NoFreePort(Exception):
    """Every port that was tried is taken."""


def is_free(port: int) -> bool:
    """Whether nobody listens on this TCP port of 127.0.0.1 at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what is closing is no matter
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment. Raises NoFreePort."""
    for _ in range(TRIES_MAX):
        port = _random.randrange(FIRST, BEHIND_LAST)
        if is_free(port):
            return port
    raise NoFreePort(f"no port from {FIRST} to {BEHIND_LAST - 1} of 127.0.0.1 is free")
