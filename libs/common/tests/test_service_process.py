"""A service as a process: its start, its stop, and the end of its supervisor."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import pytest

WITHIN_S: Final = 20

PROGRAM = """
import asyncio, sys
from efferent.common.runtime.service import run

class Recorded:
    async def start(self):
        {start}
        print("started", flush=True)
    async def drain(self):
        print("draining", flush=True)
        {drain}
    async def stop(self):
        print("stopped", flush=True)

sys.exit(run("recorded", Recorded, drain_budget_s={budget_s}))
"""


def program(*, start: str = "pass", drain: str = "pass", budget_s: float = 5.0) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PROGRAM.format(start=start, drain=drain, budget_s=budget_s))]


@contextmanager
def running(argv: list[str], *, link: socket.socket | None = None) -> Iterator[subprocess.Popen[str]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EFFERENT_")}
    fds = () if link is None else (link.fileno(),)
    if link is not None:
        environ |= {"EFFERENT_SUPERVISOR_FD": str(link.fileno()), "EFFERENT_SUPERVISOR_PID": str(os.getpid())}
    with subprocess.Popen(
        argv, env=environ, pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_that_is_told_to_stop_drains_and_ends_with_zero(number: signal.Signals) -> None:
    with running(program()) as process:
        assert read_line(process) == "started"
        process.send_signal(number)
        output, _ = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["draining", "stopped"]
        assert process.returncode == 0


def test_a_drain_beyond_its_budget_is_cut_short_and_the_service_still_stops() -> None:
    with running(program(drain="await asyncio.sleep(3600)", budget_s=0.2)) as process:
        read_line(process)
        process.terminate()
        output, log = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["draining", "stopped"]
        assert "drain took longer than 0.2 s" in log
        assert process.returncode == 0


def test_a_drain_that_fails_does_not_hinder_the_stop() -> None:
    with running(program(drain="raise RuntimeError")) as process:
        read_line(process)
        process.terminate()
        output, log = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["draining", "stopped"]
        assert "drain failed" in log
        assert process.returncode == 0


def test_a_service_that_cannot_start_is_stopped_and_ends_with_one() -> None:
    with running(program(start="raise ValueError('no such folder')")) as process:
        output, log = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["stopped"]
        assert "cannot start: no such folder" in log
        assert process.returncode == 1


def test_a_service_that_is_told_to_stop_while_it_starts_is_stopped_and_ends_with_zero() -> None:
    with running(program(start="print('starting', flush=True); await asyncio.sleep(3600)")) as process:
        assert read_line(process) == "starting"
        process.terminate()
        output, _ = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["stopped"]
        assert process.returncode == 0


def test_a_supervised_service_says_when_it_is_ready_and_drains_when_the_link_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, running(program(), link=theirs) as process:
        theirs.close()
        ours.settimeout(WITHIN_S)
        assert ours.recv(64) == b"ready\n"
        ours.close()
        output, _ = process.communicate(timeout=WITHIN_S)
        assert output.split() == ["started", "draining", "stopped"]
        assert process.returncode == 1


def test_on_linux_a_supervised_service_is_killed_with_its_supervisor() -> None:
    supervisor = f"""
    import os, socket, subprocess, sys
    ours, theirs = socket.socketpair()
    environ = dict(os.environ, EFFERENT_SUPERVISOR_FD=str(theirs.fileno()), EFFERENT_SUPERVISOR_PID=str(os.getpid()))
    keep = os.dup(ours.fileno())
    child = subprocess.Popen({program()!r}, env=environ, pass_fds=(theirs.fileno(), keep), stdout=subprocess.DEVNULL)
    ours.recv(64)
    print(child.pid, flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(supervisor)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child_fd = os.pidfd_open(int(read_line(process)))
        process.kill()
    ended, _, _ = select.select([child_fd], [], [], WITHIN_S)
    os.close(child_fd)
    assert ended
