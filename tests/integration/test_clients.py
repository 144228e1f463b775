"""Programs of others against the server: the SDK's own example and an SDK of the 0.x line."""

import asyncio
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.model_control import ModelControl
from tests.support.playing import fresh_name
from tests.support.python_packages import environment_with, source_of

OLD_SDK: Final = "0.103.0"
OLD_CLIENT: Final = Path(__file__).parents[1] / "sdk_old" / "play.py"
PROGRAM_S: Final = 60.0


async def start(program: list[str], server: EfferentServer, **environ: str) -> asyncio.subprocess.Process:
    """A program that is told nothing but where the server is and its key."""
    told = {"ANTHROPIC_BASE_URL": server.base_url, "ANTHROPIC_API_KEY": API_KEY, **environ}
    return await asyncio.create_subprocess_exec(
        *program, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def rest_of(process: asyncio.subprocess.Process) -> str:
    """What the program still prints; it must end well."""
    async with asyncio.timeout(PROGRAM_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.timeout(300)
async def test_the_sdks_own_example_runs_unchanged(
    server: EfferentServer, client: AsyncAnthropic, model: ModelControl, tmp_path: Path
) -> None:
    archive = await asyncio.to_thread(source_of, "anthropic")
    assert anthropic.__version__ in archive.name
    with tarfile.open(archive) as opened:
        (member,) = [name for name in opened.getnames() if name.endswith("/examples/agents.py")]
        opened.extract(member, tmp_path, filter="data")
    # It sends before it opens the stream, so the answer is held until a reader is there.
    await model.add_rule("Hello Claude!", {"text": "Hello to you!", "gate": "hello"})
    process = await start([sys.executable, "-u", str(tmp_path / member)], server)
    assert process.stdout is not None
    async with asyncio.timeout(PROGRAM_S):
        while not (line := (await process.stdout.readline()).decode()).startswith("Created session:"):
            assert line, "the example ended before it made a session"
        session_id = line.split()[-1]
        await model.waiting("hello")
        # The reader is there when it prints something that has just happened.
        read = asyncio.create_task(process.stdout.readuntil(b'"session.updated"'))
        number = 0
        while not read.done():
            number += 1
            await client.beta.sessions.update(session_id, title=f"title {number}")
            await asyncio.wait([read], timeout=0.1)
    await model.open("hello")
    output = await rest_of(process)
    assert "Hello to you!" in output
    assert '"type": "session.status_idle"' in output


@pytest.mark.timeout(300)
async def test_an_old_sdk_plays_a_session(server: EfferentServer) -> None:
    python = await asyncio.to_thread(environment_with, OLD_CLIENT.with_name("requirements.lock"))
    output = await rest_of(await start([str(python), str(OLD_CLIENT)], server, NAME=fresh_name("old")))
    assert output.splitlines() == [
        OLD_SDK,
        "streamed session.status_running session.thread_status_running user.message span.model_request_start "
        "agent.message span.model_request_end session.thread_status_idle session.usage session.status_idle",
        "answered You said: hello from the past",
        "listed the same",
        "found in the list of sessions",
    ]
