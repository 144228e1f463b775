"""Turns: from sending a message to ``session.status_idle`` on the stream, one session and many at once."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.client import TEXT, TOOL, Client, Played
from tests.bench.figures import Figure, median, percentile
from tests.bench.stage import Stage

TEXT_GROUP: Final = "text turn: message to session.status_idle"
FOLLOWED_GROUP: Final = "text turn, once webhooks and self-hosted work follow every session"
TOOL_GROUP: Final = "one-tool turn (bash, warm sandbox): message to session.status_idle"
CREATE_GROUP: Final = "sessions"
_WARM_UP_TURNS: Final = 2
_OPENED_AT_ONCE: Final = 20
_ROUNDS: Final = 4
_FOLLOWED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Load:
    """How turns went."""

    idle_s: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Turns per second."""
        return len(self.idle_s) / self.seconds

    def plus(self, other: "Load") -> "Load":
        """Both one after the other."""
        return Load(self.idle_s + other.idle_s, self.seconds + other.seconds)


async def text_turns(stage: Stage) -> list[Figure]:
    """Text turns at each number of sessions at once."""
    return await _turns(stage, TEXT_GROUP, TEXT, stage.sizes.text_turns, wanted=("<= 3 (ratio)", ">= 0.33 (ratio)"))


async def followed_text_turns(stage: Stage) -> list[Figure]:
    """Text turns on a server that has a webhook endpoint and a self-hosted environment: two consumers more."""
    await stage.client.post("/v1/environments", {"name": "bench-self-hosted", "config": {"type": "self_hosted"}})
    endpoint = {"url": "https://hooks.example.com/", "enabled_events": ["session.deleted"]}
    await stage.client.post("/v1/organizations/webhooks", endpoint, **{"anthropic-beta": "webhooks-2026-10-07"})
    counts = {at_once: turns // 2 for at_once, turns in stage.sizes.text_turns.items() if at_once <= _FOLLOWED_MAX}
    return await _turns(stage, FOLLOWED_GROUP, TEXT, counts, wanted=("", ""))


async def tool_turns(stage: Stage) -> list[Figure]:
    """One-tool turns at each number of sessions at once; the floor does not run the tool."""
    return await _turns(stage, TOOL_GROUP, TOOL, stage.sizes.tool_turns, wanted=("", ""))


async def session_creation(stage: Stage) -> list[Figure]:
    """Creating sessions, and how soon the first piece of text is there."""
    count = stage.sizes.creates
    floor, real = await _create(stage.floor, count), await _create(stage.client, count)
    deltas = await _first_deltas(stage)
    return [
        Figure(
            CREATE_GROUP, "session create p50, 1 at once", _ms(median(real.idle_s)), "ms", _ms(median(floor.idle_s))
        ),
        Figure(CREATE_GROUP, "session create p95", _ms(percentile(real.idle_s, 95)), "ms", None),
        Figure(CREATE_GROUP, "time to first delta p50", _ms(median(deltas)), "ms"),
        Figure(CREATE_GROUP, "time to first delta p95", _ms(percentile(deltas, 95)), "ms"),
    ]


async def play_many(client: Client, count: int, body: bytes) -> list[Played]:
    """New sessions with open streams, each after a turn or two, so that connections and caches are warm."""
    limit = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def one() -> Played:
        async with limit:
            played = await client.play()
            for _ in range(_WARM_UP_TURNS):
                await played.turn(body)
            return played

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def load(players: list[Played], turns: int, body: bytes) -> Load:
    """Let all sessions take turns, each one after the other, until so many are done."""
    idle_s: list[float] = []
    left = turns

    async def take(played: Played) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            idle_s.append((await played.turn(body)).idle_s)

    started_s = time.perf_counter()
    await asyncio.gather(*(take(played) for played in players))
    return Load(idle_s, time.perf_counter() - started_s)


async def _turns(
    stage: Stage, group: str, body: bytes, counts: dict[int, int], *, wanted: tuple[str, str]
) -> list[Figure]:
    figures: list[Figure] = []
    for at_once, turns in counts.items():
        floor, real = await _side_by_side(stage, at_once, turns, body)
        label = f"{at_once} at once"
        p50 = wanted[0] if at_once == 1 else ""
        rate = wanted[1] if at_once == 20 else ""
        figures += [
            Figure(group, f"{label}: p50", _ms(median(real.idle_s)), "ms", _ms(median(floor.idle_s)), p50),
            Figure(group, f"{label}: p95", _ms(percentile(real.idle_s, 95)), "ms", _ms(percentile(floor.idle_s, 95))),
            Figure(group, f"{label}: turns", real.rate, "1/s", floor.rate, rate),
        ]
    return figures


async def _side_by_side(stage: Stage, at_once: int, turns: int, body: bytes) -> tuple[Load, Load]:
    """The floor and the server in alternating rounds, so that a busy moment of the machine meets both."""
    floor_players = await play_many(stage.floor, at_once, body)
    players = await play_many(stage.client, at_once, body)
    floor = real = Load([], 0.0)
    for _ in range(_ROUNDS):
        floor = floor.plus(await load(floor_players, turns // _ROUNDS or 1, body))
        real = real.plus(await load(players, turns // _ROUNDS or 1, body))
    for played in (*floor_players, *players):
        played.close()
    return floor, real


async def _create(client: Client, count: int) -> Load:
    times: list[float] = []
    began_s = time.perf_counter()
    for _ in range(count):
        started_s = time.perf_counter()
        await client.create_session()
        times.append(time.perf_counter() - started_s)
    return Load(times, time.perf_counter() - began_s)


async def _first_deltas(stage: Stage) -> list[float]:
    played = await stage.client.play(deltas=True)
    times = [(await played.turn(TEXT)).first_delta_s for _ in range(stage.sizes.first_deltas)]
    played.close()
    return [seen for seen in times if seen is not None]


def _ms(seconds: float) -> float:
    return seconds * 1_000
