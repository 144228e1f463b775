"""The parts that the floor is made of, each measured alone: where the floor's time goes."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
import nats

from tests.bench import floor
from tests.bench.client import TEXT
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage

GROUP: Final = "parts of the floor, each alone"
_WARM_UP: Final = 20


async def parts(stage: Stage) -> list[Figure]:
    """One request to a bare server, one fenced append, one model request."""
    count = stage.sizes.first_deltas * 2
    nc = await nats.connect(f"nats://127.0.0.1:{stage.floor_nats.port}", token=stage.floor_nats.token)
    last = 0

    async def echo() -> None:
        async with stage.floor.http.post(f"{stage.floor.base_url}/echo", data=TEXT) as response:
            await response.read()

    async def append() -> None:
        nonlocal last
        last = await floor.append(nc, "parts", "out", floor.RECORD, last)

    async with aiohttp.ClientSession() as http:

        async def ask() -> None:
            history: list[dict[str, Any]] = [{"role": "user", "content": "What is the answer to this question?"}]
            await floor.ask(http, f"{stage.model_url}/v1/messages", history)

        figures = [
            Figure(GROUP, name, await _p50_ms(act, count), "ms")
            for name, act in (
                ("bare aiohttp POST p50", echo),
                ("fenced append p50", append),
                ("streaming model request p50", ask),
            )
        ]
    await nc.close()
    return figures


async def _p50_ms(act: Callable[[], Awaitable[None]], count: int) -> float:
    for _ in range(_WARM_UP):
        await act()
    times: list[float] = []
    for _ in range(count):
        started_s = time.perf_counter()
        await act()
        times.append(time.perf_counter() - started_s)
    return median(times) * 1_000
