"""The hands as a process of their own, killed with SIGKILL: nothing survives it, nothing runs twice."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.hands.results import INTERRUPTED_TEXT
from services.hands.tests.hands_client import Client, until

SERVE = """
from efferent.common.runtime.service import run
from efferent.hands.app import build
from efferent.hands.settings import HandsSettings
raise SystemExit(run("hands", lambda: build(HandsSettings())))
"""


@asynccontextmanager
async def serving(folder: Path, backend: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], Client]]:
    """A hands process that answers, and a client of it."""
    address = f"unix:{folder}/hands.sock"
    environ = {"PATH": os.environ["PATH"], "EFFERENT_HANDS_LISTEN": address, "EFFERENT_HANDS_BACKEND": backend}
    process = _started({**environ, "EFFERENT_DATA_DIR": str(folder)}, folder / "log")
    client = Client(address)
    try:
        await client.stub.Check(wire.CheckRequest(), wait_for_ready=True, timeout=20)
        yield process, client
    finally:
        await client.close()
        process.kill()
        process.wait()
        with contextlib.suppress(FileNotFoundError):
            (folder / "hands.sock").unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a path short enough for a socket."""
    return tmp_path


async def test_call_that_a_kill_interrupted_is_answered_and_never_run_again(folder: Path, backend: str) -> None:
    slow = {"command": "echo x >> count; sleep 60; echo x >> count"}
    async with serving(folder, backend) as (process, client):
        await client.execute("bash", {"command": "echo x >> count; echo done"}, call="sevt_before")
        asked = asyncio.create_task(client.execute("bash", {**slow}, call="sevt_slow"))
        await until(lambda: count_in(folder) == 2)
        process.send_signal(signal.SIGKILL)
        await asyncio.wait([asked])
    async with serving(folder, backend) as (process, client):
        assert (await client.execute("bash", {**slow}, call="sevt_slow")).error() == INTERRUPTED_TEXT
        assert (await client.execute("bash", {**slow}, call="sevt_slow")).error() == INTERRUPTED_TEXT
        before = await client.execute("bash", {"command": "echo x >> count; echo done"}, call="sevt_before")
        assert before.ok() == "done"
        assert "hands were restarted" in (await client.bash("cat count | wc -l")).ok()
        assert count_in(folder) == 2


async def test_nothing_survives_the_death_of_the_hands(folder: Path, backend: str) -> None:
    mark = f"efferent_{secrets.token_hex(8)}"
    async with serving(folder, backend) as (process, client):
        await client.bash(f"(exec -a {mark} sleep 300) & (setsid -f bash -c 'exec -a {mark} sleep 300')")
        await until(lambda: processes_named(mark) == 2)
        process.send_signal(signal.SIGKILL)
        await until(lambda: processes_named(mark) == 0)


async def test_sigterm_stops_within_its_budget_and_leaves_nothing(folder: Path, backend: str) -> None:
    mark = f"efferent_{secrets.token_hex(8)}"
    async with serving(folder, backend) as (process, client):
        asked = asyncio.create_task(client.bash(f"exec -a {mark} sleep 300"))
        await until(lambda: processes_named(mark) == 1)
        process.send_signal(signal.SIGTERM)
        assert (await asked).error() == INTERRUPTED_TEXT
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert processes_named(mark) == 0


async def test_killed_launcher_is_replaced(folder: Path, backend: str) -> None:
    async with serving(folder, backend) as (process, client):
        await client.bash("echo kept > file")
        os.kill(_only_child(process.pid), signal.SIGKILL)
        outcome = await client.bash("cat file")
        if outcome.is_error:  # it was asked before the sandbox's end was seen
            outcome = await client.bash("cat file")
        assert outcome.ok().endswith("kept")


def _started(environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-c", SERVE], env=environ, stderr=file, stdout=file)


def _only_child(pid: int) -> int:
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def count_in(folder: Path) -> int:
    """Side effects of the session's calls so far."""
    path = folder / "hands" / "sessions" / "sesn_one" / "workspace" / "count"
    return path.read_text().count("x") if path.exists() else 0


def processes_named(mark: str) -> int:
    """Processes of the whole machine whose command line begins with the mark."""
    count = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            count += entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(mark.encode())
    return count
