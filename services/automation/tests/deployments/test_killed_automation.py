"""The real process, killed with SIGKILL in the middle of its runs, and a log that goes away and comes back."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from efferent.common.domain.resources.deployment import CronSchedule
from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import connect
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec
from efferent.common.runtime.settings import NatsSettings
from services.automation.tests.deployments.deployment_rig import Stage
from services.automation.tests.log_stage import ROOT_KEY

RUNS: Final = 200
HOUR_S: Final = 3_600.0
ONCE: Final = CronSchedule(expression="0 1 1 1 *", timezone="UTC")
"""Never due by the process's own clock while the test runs."""


@asynccontextmanager
async def automation(stage: Stage) -> AsyncIterator[asyncio.subprocess.Process]:
    """``efferent automation`` as a process of its own."""
    token = stage.nats.token_text()
    assert token is not None
    environ = {
        **os.environ,
        "NATS_URL": stage.nats.url,
        "EFFERENT_NATS_TOKEN": token,
        "EFFERENT_DATA_DIR": str(stage.folder),
        "EFFERENT_SECRET_KEY": ROOT_KEY,
        "EFFERENT_AUTOMATION_RUN_ACK_WAIT_S": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "efferent.cli.main", "automation", env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.timeout(240)  # three starts of the process and two hundred sessions
async def test_killing_it_in_the_middle_neither_loses_nor_doubles_a_run(stage: Stage) -> None:
    agent, environment_id = await stage.agent(), await stage.environment()
    for _ in range(RUNS):
        await stage.make(agent=agent, environment_id=environment_id, schedule=ONCE)
    starter = stage.build()
    await starter.deployments.scheduler.catch_up()
    stage.advance(HOUR_S + 540)
    begun = 0
    while number := await starter.deployments.scheduler.start_due():
        begun += number
    assert begun == RUNS
    finished = 0
    for _ in range(2):
        async with automation(stage) as process:
            runs = await stage.until(lambda runs, before=finished: len(runs) > before)  # type: ignore[misc]
            process.kill()
            await process.wait()
        finished = len([run for run in await stage.runs() if run.is_finished])
        assert len(runs) <= finished
    async with automation(stage) as process:
        runs = await stage.until(lambda runs: len(runs) == RUNS)
        process.terminate()
        assert await process.wait() == 0
    assert {run.error for run in runs} == {None}
    assert len({run.session_id for run in runs}) == RUNS
    assert await stage.session_count() == RUNS


async def test_a_log_that_was_away_is_worked_on_when_it_is_back(tmp_path: Path) -> None:
    spec = ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], token=server.token, name="test", within_s=10)
        await streams.declare(connection)
        stage = Stage(connection, NatsSettings.model_validate({"url": server.url, "token": server.token}), tmp_path)
        await stage.open()
        await stage.make()
        replica = stage.replica()
        await replica.__aenter__()
    stage.advance(HOUR_S + 540)
    async with nats_server.running(spec):
        (run,) = await stage.until(lambda runs: len(runs) == 1)
        assert run.session_id is not None
        await replica.__aexit__(None, None, None)
        await connection.close()
