"""Readers of streams: many idle ones, and many of one busy session."""

import asyncio
import time
from typing import Final

from tests.bench import memory
from tests.bench.client import TEXT, Client, Played
from tests.bench.figures import Figure, median, percentile
from tests.bench.stage import Stage

IDLE_GROUP: Final = "idle readers"
BUSY_GROUP: Final = "readers of one busy session"
_OPENED_AT_ONCE: Final = 50
_KIB: Final = 1024


async def idle_readers(stage: Stage) -> list[Figure]:
    """What idle streams cost the gateway, each of a session of its own."""
    count = stage.sizes.idle_readers
    session_ids = await create_many(stage.client, count)
    before = memory.by_process(stage.server)["gateway"]
    readers = await _open_many(stage.client, session_ids)
    after = memory.by_process(stage.server)["gateway"]
    for reader in readers:
        reader.close()
    per_reader = max(after - before, 0) / count / _KIB
    return [Figure(IDLE_GROUP, f"gateway memory per idle reader ({count:,})", per_reader, "KB")]


async def fan_out(stage: Stage) -> list[Figure]:
    """From sending a message until the last of many readers has seen the session idle."""
    count, turns = stage.sizes.fan_out_readers, stage.sizes.fan_out_turns
    floor_ms = await _fan_out(stage.floor, count, turns)
    real_ms = await _fan_out(stage.client, count, turns)
    name = f"text turn with {count} readers, until the last one is told"
    return [
        Figure(BUSY_GROUP, f"{name}: p50", median(real_ms), "ms", median(floor_ms)),
        Figure(BUSY_GROUP, f"{name}: p95", percentile(real_ms, 95), "ms", percentile(floor_ms, 95)),
    ]


async def create_many(client: Client, count: int) -> list[str]:
    """New sessions, many at once."""
    limit = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def one() -> str:
        async with limit:
            return await client.create_session()

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _open_many(client: Client, session_ids: list[str]) -> list[Played]:
    limit = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def one(session_id: str) -> Played:
        async with limit:
            return await client.play(session_id)

    return list(await asyncio.gather(*(one(session_id) for session_id in session_ids)))


async def _fan_out(client: Client, count: int, turns: int) -> list[float]:
    session_id = await client.create_session()
    readers = await _open_many(client, [session_id] * count)
    times_ms: list[float] = []
    for _ in range(turns):
        started_s = time.perf_counter()
        waiting = [asyncio.create_task(reader.until_idle(started_s)) for reader in readers]
        await readers[0].send(TEXT)
        times_ms.append(max([(await reader).idle_s for reader in waiting]) * 1_000)
    for reader in readers:
        reader.close()
    return times_ms
