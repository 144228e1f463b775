"""The supervisor with small stand-in children: real processes, no services."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from efferent.cli.child import ChildSpec
from efferent.cli.supervisor import Supervisor

PREAMBLE = """
import os, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
link = socket.socket(fileno=int(os.environ["EFFERENT_SUPERVISOR_FD"]))
"""
SERVES = PREAMBLE + "link.send(b'ready\\n')\nsignal.sigwait({signal.SIGTERM})\n"
DIES = PREAMBLE + "sys.exit(3)\n"
HANGS = PREAMBLE + "link.send(b'ready\\n')\nwhile True: signal.pause()\n"


class Lines:
    """What the supervisor said, and a way to wait for a line."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.said.append(line)
        self._news.set()

    async def until(self, wanted: Callable[[list[str]], bool], within_s: float = 20.0) -> None:
        """Return once the lines said so far are as wanted."""
        async with asyncio.timeout(within_s):
            while not wanted(self.said):
                self._news.clear()
                await self._news.wait()

    def count(self, part: str) -> int:
        """Lines with this part."""
        return sum(part in line for line in self.said)


def spec(name: str, program: str, *, after: tuple[str, ...] = (), drain_budget_s: float = 2.0) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-I", "-S", "-c", textwrap.dedent(program)),
        environ={"PATH": os.environ["PATH"]},
        drain_budget_s=drain_budget_s,
        after=after,
    )


@asynccontextmanager
async def supervised(*specs: ChildSpec, burst: int = 3) -> AsyncIterator[tuple[Supervisor, Lines]]:
    lines = Lines()
    supervisor = Supervisor(specs, lines, restart_burst=burst)
    supervisor.start()
    try:
        yield supervisor, lines
    finally:
        supervisor.kill()
        await supervisor.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_a_dead_child_is_started_again_at_once(number: signal.Signals) -> None:
    async with supervised(spec("brain", SERVES)) as (supervisor, lines):
        await lines.until(lambda said: lines.count("brain is ready") == 1)
        first = supervisor.pids()["brain"]
        os.kill(first, number)
        await lines.until(lambda said: lines.count("brain is ready") == 2)
        assert supervisor.pids()["brain"] != first
        assert lines.count(f"brain (process {first})") == 1
        assert lines.count("starting it again in 0.1 s") == 1


async def test_a_child_that_keeps_dying_is_started_later_and_later() -> None:
    async with supervised(spec("brain", DIES), burst=2) as (_, lines):
        await lines.until(lambda said: lines.count("exit code 3; starting it again in 1 s") == 1)
        assert lines.count("exit code 3; starting it again in 0.1 s") == 2


async def test_a_program_that_cannot_be_started_is_said_and_tried_again() -> None:
    missing = ChildSpec(name="hands", argv=("/nonexistent/program",), environ={}, drain_budget_s=1.0)
    async with supervised(missing, burst=1) as (_, lines):
        await lines.until(lambda said: lines.count("hands cannot be started") == 2)


async def test_a_child_starts_when_what_it_needs_is_ready() -> None:
    nats = spec("nats", PREAMBLE + "sys.stdin.read()\nlink.send(b'ready\\n')\nsignal.sigwait({signal.SIGTERM})\n")
    async with supervised(spec("gateway", SERVES, after=("nats",)), nats) as (_, lines):
        await lines.until(lambda said: len(said) == 2)
        assert [line.split()[0] for line in lines.said] == ["nats", "gateway"]


async def test_the_start_is_over_when_every_child_is_ready() -> None:
    async with supervised(spec("gateway", SERVES), spec("brain", SERVES)) as (supervisor, _):
        await supervisor.wait_ready()
        assert set(supervisor.pids()) == {"gateway", "brain"}


async def test_a_child_whose_need_is_never_ready_does_not_hinder_the_stop() -> None:
    nats = spec("nats", PREAMBLE + "signal.sigwait({signal.SIGTERM})\n")
    async with supervised(spec("gateway", SERVES, after=("nats",)), nats) as (supervisor, lines):
        async with asyncio.timeout(20):
            await supervisor.stop()
        assert supervisor.pids() == {}
        assert lines.said == []


async def test_children_stop_one_after_the_other_in_the_given_order(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = PREAMBLE + "link.send(b'ready\\n')\nsignal.sigwait({signal.SIGTERM})\nopen(%r, 'a').write(%r)\n"
    names = ["gateway", "brain", "hands", "nats"]
    specs = [spec(name, program % (str(told), name + " ")) for name in names]
    async with supervised(*specs) as (supervisor, lines):
        await lines.until(lambda said: lines.count("is ready") == 4)
        await supervisor.stop()
        assert told.read_text().split() == names
        assert supervisor.pids() == {}


async def test_a_child_that_ignores_the_stop_is_killed_when_its_budget_is_spent() -> None:
    async with supervised(spec("brain", HANGS, drain_budget_s=0.2)) as (supervisor, lines):
        await lines.until(lambda said: lines.count("brain is ready") == 1)
        async with asyncio.timeout(20):
            await supervisor.stop()
        assert supervisor.pids() == {}


async def test_a_stop_right_after_the_start_leaves_no_child() -> None:
    async with supervised(spec("brain", SERVES), spec("nats", SERVES)) as (supervisor, _):
        async with asyncio.timeout(20):
            await supervisor.stop()
        assert supervisor.pids() == {}
