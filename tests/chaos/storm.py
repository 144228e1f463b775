"""A storm: many sessions at work, services killed at chosen steps of their turns, and what must hold afterwards."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.player import STEPS, Player, Step, ids_of
from tests.chaos.turns import STYLES, Turns, mark_of
from tests.support.efferent_server import SERVICES, EfferentServer
from tests.support.history import problems_of
from tests.support.model_control import ModelControl
from tests.support.raw_api import RawApi

EVERYTHING: Final = "everything"
STEP_WAIT_S: Final = 30.0
"""How long the storm waits for a session to be at the step of the next kill."""
END_WAIT_S: Final = 90.0
"""How long every turn has to end after the storm."""
_AFTER_KILL_S: Final = (0.0, 0.8)


@dataclass
class Report:
    """What a storm did and what it found."""

    seed: int
    kills: Counter[tuple[str, Step]] = field(default_factory=Counter)
    steps_hit: Counter[Step] = field(default_factory=Counter)
    """Sessions at each step when a kill came, over all kills."""
    turns: int = 0
    exhausted: int = 0
    events: int = 0
    calls: int = 0
    lost_calls: int = 0
    """Calls that a kill turned into an error result."""
    lost_sends: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{service} while {step}: {count}" for (service, step), count in sorted(self.kills.items()))
        return (
            f"seed {self.seed}: {sum(self.kills.values())} kills over {self.turns} turns, {self.events} events, "
            f"{self.calls} tool calls ({self.lost_calls} lost to a kill), {self.lost_sends} sends without an answer, "
            f"{self.exhausted} turns given up; sessions hit at {dict(self.steps_hit)}; {kills}"
        )


def plan(kills: int, dice: random.Random) -> list[tuple[str, Step]]:
    """Which service dies at which step: every pair in turn, shuffled; everything at once more rarely."""
    pairs = [(service, step) for service in SERVICES for step in STEPS]
    pairs += [(EVERYTHING, step) for step in dice.sample(STEPS, 3)]
    dice.shuffle(pairs)
    return [pairs[index % len(pairs)] for index in range(kills)]


class Storm:
    """One storm over one server."""

    def __init__(self, server: EfferentServer, model_url: str, seed: int, *, players: int = 9) -> None:
        self.report = Report(seed)
        self._server = server
        self._model_url = model_url
        self.dice = random.Random(seed)  # noqa: S311
        self._players_wanted = players
        self._moved = asyncio.Event()
        self._players: list[Player] = []

    async def run(self, kills: Sequence[tuple[str, Step]]) -> Report:
        """Let the storm blow, then check every session. The report's problems are what went wrong."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            api, model = RawApi(self._server.base_url, http), ModelControl(self._model_url, http)
            self._players = [self._player(number, api, model) for number in range(self._players_wanted)]
            await asyncio.gather(*(player.start() for player in self._players))
            playing = [asyncio.create_task(player.play()) for player in self._players]
            try:
                for service, step in kills:
                    await self._kill(service, step)
                await asyncio.to_thread(self._server.wait_ready)
                await self._end(playing)
                await asyncio.gather(*(self._check(player) for player in self._players))
                self.report.problems += [f"the server reports a defect: {line}" for line in self._server.errors()]
            finally:
                for task in playing:
                    task.cancel()
                await asyncio.gather(*playing, return_exceptions=True)
                await asyncio.gather(*(player.stop() for player in self._players))
        return self.report

    def _player(self, number: int, api: RawApi, model: ModelControl) -> Player:
        name = f"{self.report.seed}-{number}"
        dice = random.Random(self.dice.random())  # noqa: S311
        turns = Turns(name, STYLES[number % len(STYLES)], dice)
        return Player(turns, api, model, dice, self._moved.set)

    async def _kill(self, service: str, step: Step) -> None:
        """Kill a service while a session is at the step, and see that life goes on before the next one."""
        before = sum(len(player.seen) for player in self._players)
        await self._until(lambda: any(player.step == step for player in self._players), f"no session is {step}")
        self.report.kills[service, step] += 1
        self.report.steps_hit.update(player.step for player in self._players)
        if service == EVERYTHING:
            await asyncio.to_thread(self._server.kill_everything)
            await asyncio.to_thread(self._server.start)
        else:
            await asyncio.to_thread(self._server.kill, service)
        await asyncio.sleep(self.dice.uniform(*_AFTER_KILL_S))
        await self._until(
            lambda: sum(len(player.seen) for player in self._players) > before, f"nothing happened after {service} died"
        )

    async def _until(self, holds: Any, otherwise: str) -> None:
        try:
            async with asyncio.timeout(STEP_WAIT_S):
                while not holds():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            steps = [player.step for player in self._players]
            raise AssertionError(f"{otherwise} within {STEP_WAIT_S} s ({steps}); {self._server.tail()}") from None

    async def _end(self, playing: Sequence[asyncio.Task[None]]) -> None:
        for player in self._players:
            player.end()
        try:
            async with asyncio.timeout(END_WAIT_S):
                await asyncio.gather(*playing)
        except TimeoutError:
            stuck = [
                f"{player.session_id} {player.turns.style} {player.step}, last saw {player.seen[-1:]}, "
                f"refused {player.refused[-1:]}"
                for player, task in zip(self._players, playing, strict=True)
                if not task.done() or task.cancelled()
            ]
            raise AssertionError(f"turns did not end within {END_WAIT_S} s: {stuck}\n{self._server.tail()}") from None

    async def _check(self, player: Player) -> None:
        marks = Counter(await player.marks())
        listed = await player.history()
        found = problems_of(listed, ended=True)
        found += _lost_events(player, listed)
        found += self._marks_problems(listed, marks)
        if ids_of(player.seen) != ids_of(listed):
            found.append(
                f"the stream showed {len(player.seen)} events, the list {len(listed)}: {_difference(player, listed)}"
            )
        self.report.problems += [f"{player.session_id}: {problem}" for problem in found]
        self._count(player, listed)

    def _marks_problems(self, listed: Sequence[dict[str, Any]], marks: Counter[str]) -> list[str]:
        results = {event["tool_use_id"]: event for event in listed if event["type"] == "agent.tool_result"}
        found = []
        for use in listed:
            mark = mark_of(use) if use["type"] == "agent.tool_use" else None
            if mark is None:
                continue
            result = results.get(use["id"])
            self.report.calls += 1
            self.report.lost_calls += result is not None and bool(result["is_error"])
            if marks[mark] > 1:
                found.append(f"call {use['id']} ran {marks[mark]} times")
            if result is not None and not result["is_error"] and marks[mark] != 1:
                found.append(f"call {use['id']} succeeded and left its mark {marks[mark]} times")
        return found

    def _count(self, player: Player, listed: Sequence[dict[str, Any]]) -> None:
        reasons = Counter(event["stop_reason"]["type"] for event in listed if event["type"] == "session.status_idle")
        self.report.turns += reasons["end_turn"] + reasons["retries_exhausted"]
        self.report.exhausted += reasons["retries_exhausted"]
        self.report.events += len(listed)
        self.report.lost_sends += player.lost


def _lost_events(player: Player, listed: Sequence[dict[str, Any]]) -> list[str]:
    """Acknowledged events that are not in the list, or not in the order in which they were sent."""
    order = {event_id: place for place, event_id in enumerate(ids_of(listed))}
    found = [
        f"acknowledged {echo['type']} {echo['id']} is lost" for echo in player.acknowledged if echo["id"] not in order
    ]
    messages = [echo["id"] for echo in player.acknowledged if echo["type"] == "user.message" and echo["id"] in order]
    if sorted(messages, key=order.__getitem__) != messages:
        found.append("messages are not in the order in which they were sent")
    return found


def _difference(player: Player, listed: Sequence[dict[str, Any]]) -> str:
    seen, kept = ids_of(player.seen), ids_of(listed)
    missing = [event["type"] for event in listed if event["id"] not in seen]
    twice = [event_id for event_id, count in Counter(seen).items() if count > 1]
    return f"not streamed {missing}, twice {twice}, not listed {[each for each in seen if each not in kept]}"
