"""Ports for servers that this machine starts."""

import socket

import pytest

from efferent.common.runtime import free_port as module
from efferent.common.runtime.free_port import NoFreePort, free_port, is_free


def test_a_free_port_is_none_that_clients_are_given() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) > 40
    assert all(port < 32_768 for port in ports)


def test_a_port_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: int = listener.getsockname()[1]
        assert not is_free(taken)
        monkeypatch.setattr(module, "FIRST", taken)
        monkeypatch.setattr(module, "BEHIND_LAST", taken + 1)
        with pytest.raises(NoFreePort, match=f"from {taken} to {taken}"):
            free_port()
