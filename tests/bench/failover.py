"""How long a turn stands still when the brain that works on it is killed."""

import asyncio
import os
import secrets
import signal
import time
from typing import Final

from tests.bench.client import script
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage

GROUP: Final = "fail-over"


async def after_kill(stage: Stage) -> list[Figure]:
    """From SIGKILL of the brain, while its model is thinking, to the end of the turn under the next brain."""
    times_s = [await _once(stage) for _ in range(stage.sizes.failovers)]
    return [
        Figure(GROUP, "SIGKILL of the brain to the turn's end p50", median(times_s), "s"),
        Figure(GROUP, "SIGKILL of the brain to the turn's end, slowest", max(times_s), "s", None, "<= 6"),
    ]


async def _once(stage: Stage) -> float:
    gate = f"{stage.model_url}/control/gates/{secrets.token_hex(6)}"
    played = await stage.client.play()
    await played.send(script({"text": "done", "gate": gate.rpartition("/")[2]}))
    async with stage.client.http.get(f"{gate}/waiting") as response:
        response.raise_for_status()
    started_s = time.perf_counter()
    os.kill(stage.server.pids()["brain"], signal.SIGKILL)
    async with stage.client.http.post(gate) as response:
        response.raise_for_status()
    ended_s = (await played.until_idle(started_s)).idle_s
    played.close()
    await asyncio.to_thread(stage.server.wait_ready)
    return ended_s
