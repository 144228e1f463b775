"""Cost stays flat: a session with a long history, and a server with many sessions."""

import asyncio
import os
import signal
import time
from typing import Any, Final

import aiohttp

from tests.bench import floor
from tests.bench.client import TEXT, Client, Played
from tests.bench.figures import Figure, median
from tests.bench.readers import create_many
from tests.bench.stage import Stage
from tests.bench.turns import load, play_many

LONG_GROUP: Final = "a session with a long history"
MANY_GROUP: Final = "a server with many sessions"
_PAGE: Final = 1_000
_EVENTS_PER_TURN: Final = 9
_MODEL_REQUESTS: Final = 50


async def long_session(stage: Stage) -> list[Figure]:
    """Turns, lists and restarts in a session with many events, against a new session."""
    turns = -(-stage.sizes.long_session_events // _EVENTS_PER_TURN)
    long, fresh = await stage.client.play(), await stage.client.play()
    for _ in range(turns):
        await long.turn(TEXT)
    await fresh.turn(TEXT)
    count = stage.sizes.long_session_turns
    long_ms, fresh_ms = [], []
    for _ in range(count):
        fresh_ms.append((await fresh.turn(TEXT)).idle_s * 1_000)
        long_ms.append((await long.turn(TEXT)).idle_s * 1_000)
    model_ms = await _model_ms(stage, turns), await _model_ms(stage, count // 2)
    listed_s, listed = await _list(stage.client, long.id)
    restarted = [await _first_turns_after_restart(stage, long, fresh) for _ in range(stage.sizes.restarts)]
    long_first, fresh_first = median(pair[0] for pair in restarted), median(pair[1] for pair in restarted)
    long.close()
    fresh.close()
    label = f"{listed:,} events"
    own_long, own_fresh = median(long_ms) - model_ms[0], median(fresh_ms) - model_ms[1]
    return [
        Figure(LONG_GROUP, f"warm turn p50, {label} (floor: a new session)", median(long_ms), "ms", median(fresh_ms)),
        Figure(LONG_GROUP, "the same without the model's own time", own_long, "ms", own_fresh, "<= 2 (ratio)"),
        Figure(LONG_GROUP, "listing the whole history", listed / listed_s, "events/s"),
        Figure(LONG_GROUP, "first turn after a restart of the brain", long_first, "ms", fresh_first),
        Figure(LONG_GROUP, "added to it by the long history", long_first - fresh_first, "ms", None, "<= 300"),
    ]


async def many_sessions(stage: Stage) -> list[Figure]:
    """Text turns before and after the server got many more sessions."""
    turns = stage.sizes.other_turns
    [played] = await play_many(stage.client, 1, TEXT)
    before = await load([played], turns, TEXT)
    started_s = time.perf_counter()
    await create_many(stage.client, stage.sizes.other_sessions)
    rate = stage.sizes.other_sessions / (time.perf_counter() - started_s)
    after = await load([played], turns, TEXT)
    played.close()
    name = f"text turn p50 with {stage.sizes.other_sessions:,} other sessions (floor: without)"
    return [
        Figure(MANY_GROUP, "session creates, 50 at once", rate, "1/s"),
        Figure(MANY_GROUP, name, median(after.idle_s) * 1_000, "ms", median(before.idle_s) * 1_000, "~ 1 (ratio)"),
    ]


async def _model_ms(stage: Stage, turns: int) -> float:
    """What the scripted model and the wire take for a request with so many turns of history."""
    text = "What is the answer to this question?"
    history: list[dict[str, Any]] = []
    for _ in range(turns):
        history.append({"role": "user", "content": [{"type": "text", "text": text}]})
        history.append({"role": "assistant", "content": [{"type": "text", "text": f"You said: {text}"}]})
    history.append({"role": "user", "content": [{"type": "text", "text": text}]})
    times: list[float] = []
    async with aiohttp.ClientSession() as http:
        for _ in range(_MODEL_REQUESTS):
            started_s = time.perf_counter()
            await floor.ask(http, f"{stage.model_url}/v1/messages", history)
            times.append(time.perf_counter() - started_s)
    return median(times) * 1_000


async def _list(client: Client, session_id: str) -> tuple[float, int]:
    started_s = time.perf_counter()
    path, page, listed = f"/v1/sessions/{session_id}/events?limit={_PAGE}", None, 0
    while True:
        answer = await client.get(f"{path}&page={page}" if page else path)
        listed += len(answer["data"])
        page = answer.get("next_page")
        if not page:
            return time.perf_counter() - started_s, listed


async def _first_turns_after_restart(stage: Stage, long: Played, fresh: Played) -> tuple[float, float]:
    """Times in ms of the first turn of the long session and of a short one, after a brain that knows neither started.

    A third session goes first, so that neither pays for the brain's first connections.
    """
    first = await stage.client.play()
    os.kill(stage.server.pids()["brain"], signal.SIGKILL)
    await asyncio.to_thread(stage.server.wait_ready)
    await first.turn(TEXT)
    first.close()
    fresh_ms = (await fresh.turn(TEXT)).idle_s * 1_000
    return (await long.turn(TEXT)).idle_s * 1_000, fresh_ms
