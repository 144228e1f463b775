"""Waiting for processes that have nothing else to tell that they are ready."""

import socket
import time
from collections.abc import Callable


def wait_for_port(port: int, within_s: float, is_alive: Callable[[], bool]) -> None:
    """Return once something listens on this port of 127.0.0.1. Fails when the process ends or the time is over."""
    deadline_s = time.monotonic() + within_s
    while True:
        assert is_alive(), "the process ended before it listened"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline_s, f"nothing listens on port {port} after {within_s} s"
        time.sleep(0.02)
