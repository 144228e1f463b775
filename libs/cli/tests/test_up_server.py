"""``efferent up`` with the real services: its start, its stop, and what it does about death."""

import asyncio
import contextlib
import http.client
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec, new_token, running
from tests.support.efferent_server import SERVICES, EfferentServer
from tests.support.secret_search import contents_below

STOP_WITHIN_S: Final = 10.0
WITHIN_S: Final = 60.0
START_WITHIN_S: Final = 120.0
TLS: Final = Path(__file__).parent / "tls"
HEADERS: Final = {"anthropic-version": "2023-06-01", "anthropic-beta": "managed-agents-2026-04-01"}

pytestmark = pytest.mark.timeout(300)  # a whole server, on a machine that may be busy with other tests


def start_server(folder: Path) -> EfferentServer:
    """A server that makes its own key."""
    server = EfferentServer(data_dir=folder / "data", environ={"EFFERENT_API_KEY": ""})
    server.start()
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EfferentServer]:
    """One server for all tests after which it still runs."""
    server = start_server(tmp_path_factory.mktemp("up"))
    yield server
    assert server.stop() == 0


@pytest.fixture
def server_to_end(tmp_path: Path) -> Iterator[EfferentServer]:
    """A server that the test ends in its own way."""
    server = start_server(tmp_path)
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.kill_everything()


def command(server: EfferentServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "EFFERENT_DATA_DIR": str(server.data_dir), "EFFERENT_PORT": str(server.port)}
    argv = [sys.executable, "-m", "efferent.cli.main", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)


def status_with(server: EfferentServer, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WITHIN_S)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/agents", headers={**HEADERS, "x-api-key": key})
        return connection.getresponse().status


def wait_line(server: EfferentServer, pattern: str, within_s: float) -> None:
    """Return once the server has written such a line."""
    deadline = time.monotonic() + within_s
    while not re.search(pattern, server.log_file.read_text() + server.output_file.read_text()):
        assert time.monotonic() < deadline, f"no line {pattern!r} within {within_s} s:\n{server.tail()}"
        select.select([], [], [], 0.01)


def has_ended(pid_fd: int, within_s: float) -> bool:
    ended, _, _ = select.select([pid_fd], [], [], within_s)
    os.close(pid_fd)
    return bool(ended)


def test_a_first_start_makes_a_key_and_prints_what_a_client_needs(server: EfferentServer) -> None:
    key = (server.data_dir / "api_key").read_text().strip()
    wait_line(server, f"(?m)^export ANTHROPIC_API_KEY={re.escape(key)}$", WITHIN_S)
    wait_line(server, f"(?m)^export ANTHROPIC_BASE_URL={re.escape(server.base_url)}$", WITHIN_S)
    assert status_with(server, key) == 200
    assert status_with(server, "sk-ant-efferent-wrong") == 401
    assert key.encode() not in b"".join(content for _, content in contents_below(server.data_dir / "nats"))


def test_another_key_is_valid_at_once(server: EfferentServer) -> None:
    done = command(server, "keys", "create", "--name", "for the build")
    assert done.returncode == 0, done.stderr
    assert "for the build" in done.stderr
    assert status_with(server, done.stdout.strip()) == 200


def test_the_demo_plays_a_session_to_its_end(server: EfferentServer) -> None:
    done = command(server, "demo")
    assert done.returncode == 0, done.stdout + done.stderr + server.tail()
    kinds = [line.split()[0] for line in done.stdout.splitlines() if re.match(r"(agent|session|span|user)\.", line)]
    assert {"user.message", "agent.tool_use", "agent.tool_result", "agent.message"} <= set(kinds)
    assert kinds[-1] == "session.status_idle"
    assert "hello from the sandbox" in done.stdout


def test_a_second_server_on_the_same_folder_is_refused(server: EfferentServer) -> None:
    second = EfferentServer(data_dir=server.data_dir)
    environ = {**os.environ, "EFFERENT_DATA_DIR": str(server.data_dir), "EFFERENT_PORT": str(second.port)}
    done = subprocess.run(second.command, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert server.process is not None
    assert done.returncode == 2
    assert f"is in use by another 'efferent up' (process {server.process.pid})" in done.stderr


def test_each_process_shows_its_service_and_holds_only_what_it_needs(server: EfferentServer) -> None:
    pids = server.pids()
    assert set(pids) == set(SERVICES)
    environ_of_hands = Path(f"/proc/{pids['hands']}/environ").read_text()
    for secret in ("EFFERENT_API_KEY", "EFFERENT_NATS_TOKEN", "NATS_URL"):
        assert f"{secret}=" not in environ_of_hands
    assert "EFFERENT_API_KEY=" not in Path(f"/proc/{pids['brain']}/environ").read_text()


def test_a_server_that_is_told_to_stop_drains_and_ends_with_zero(server_to_end: EfferentServer) -> None:
    process = server_to_end.process
    assert process is not None
    children = [os.pidfd_open(pid) for pid in server_to_end.pids().values()]
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_WITHIN_S) == 0
    assert all(has_ended(child, 1.0) for child in children)
    assert "was killed" not in server_to_end.log_file.read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_started_again(server: EfferentServer, service: str) -> None:
    pid = server.kill(service)
    wait_line(server, rf"{service} \(process {pid}\) was killed by SIGKILL; starting it again", WITHIN_S)
    deadline = time.monotonic() + WITHIN_S
    while server.pids().get(service) in (None, pid):
        assert time.monotonic() < deadline, server.tail()
        select.select([], [], [], 0.01)
    server.wait_ready()


def test_after_a_kill_of_the_supervisor_nothing_is_left_and_the_same_folder_goes_on(
    server_to_end: EfferentServer,
) -> None:
    server = server_to_end
    assert server.process is not None
    key = (server.data_dir / "api_key").read_text().strip()
    children = [os.pidfd_open(pid) for pid in server.pids().values()]
    server.process.kill()
    server.process.wait()
    assert all(has_ended(child, WITHIN_S) for child in children)
    server.start()
    assert status_with(server, key) == 200
    assert server.stop() == 0


async def test_a_server_with_tls_and_a_log_elsewhere_starts_no_nats_of_its_own(tmp_path: Path) -> None:
    spec = ServerSpec(folder=tmp_path / "nats", port=free_port(), token=new_token())
    async with running(spec) as nats:
        server = EfferentServer(
            data_dir=tmp_path / "data",
            environ={
                "EFFERENT_HOST": "0.0.0.0",
                "EFFERENT_TLS_CERT": str(TLS / "cert.pem"),
                "EFFERENT_TLS_KEY": str(TLS / "key.pem"),
                "NATS_URL": nats.url,
                "EFFERENT_NATS_TOKEN": nats.token,
            },
        )
        server.launch()
        try:
            ready = rf"(?m)^export ANTHROPIC_BASE_URL=https://127\.0\.0\.1:{server.port}$"
            for line in (ready, "efferent: ready at"):  # a start that takes long prints the first before it is ready
                await asyncio.to_thread(wait_line, server, line, START_WITHIN_S)
            assert set(server.pids()) == {"gateway", "automation", "brain", "hands"}
        finally:
            assert await asyncio.to_thread(server.stop) == 0
