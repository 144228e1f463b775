"""One session in a storm: it sends without retries, reads without gaps, and never stops asking for the next turn."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import aiohttp

from tests.chaos.turns import Turns, tools_of
from tests.support.model_control import ModelControl
from tests.support.playing import MODEL, fresh_name
from tests.support.raw_api import RawApi, frames

Step = Literal["between turns", "sending", "answering", "tool running", "result recorded", "waiting", "finishing"]
STEPS: Final[tuple[Step, ...]] = ("sending", "answering", "tool running", "result recorded", "waiting", "finishing")
RECONNECT_S: Final = 0.1
READER_SILENCE_S: Final = 12.0
"""A stream that is silent for longer is dead: heartbeats come more often."""
SETTLE_S: Final = 60.0
HOLD_S: Final = (0.1, 0.7)
STEER_CHANCE: Final = 0.15
INTERRUPT_CHANCE: Final = 0.08
_STATUSES: Final = (
    "session.status_running", "session.status_idle", "session.status_rescheduled", "session.status_terminated",
)  # fmt: skip
_GONE: Final = (aiohttp.ClientError, TimeoutError, ConnectionError)


class Player:
    """Plays turns until it is told to end."""

    def __init__(
        self, turns: Turns, api: RawApi, model: ModelControl, dice: random.Random, moved: Callable[[], None]
    ) -> None:
        self.turns = turns
        self.step: Step = "between turns"
        self.seen: list[dict[str, Any]] = []
        """What the stream showed, resumed by Last-Event-ID whenever it broke."""
        self.acknowledged: list[dict[str, Any]] = []
        """Echoes of what was sent and answered 200, in the order of sending."""
        self.lost = 0
        """Sends whose answer never came."""
        self.refused: list[str] = []
        self.session_id = ""
        self._api = api
        self._model = model
        self._dice = dice
        self._moved = moved
        self._last_id = ""
        self._caught_up: set[str] = set()
        self._changed = asyncio.Condition()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the session and begin to read it; the storm has not begun yet."""
        environment = await self._made("/v1/environments", {"name": fresh_name("chaos")})
        described = {"name": "chaos", "model": MODEL, "tools": tools_of(self.turns.style)}
        agent = await self._made("/v1/agents", described)
        body = {"agent": agent["id"], "environment_id": environment["id"]}
        self.session_id = (await self._made("/v1/sessions", body))["id"]
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._open_gates())]

    async def stop(self) -> None:
        """Stop reading. Raises what reading raised."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def play(self) -> None:
        """Play turn after turn; returns when the one that was going on at the end is over."""
        acted_on: str | None = None
        while not (self._ending and self._is_over() and acted_on != self._status_id()):
            if self._is_idle() and acted_on != self._status_id():
                acted_on = self._status_id()
                if not await self._act():
                    acted_on = None
                    await asyncio.sleep(RECONNECT_S)
            else:
                await self._disturb()
                await self._next_change()

    def end(self) -> None:
        """Begin no further turn."""
        self._ending = True

    async def marks(self) -> list[str]:
        """The marks in the sandbox, asked for in a last turn after the storm."""
        asked = self.turns.reading()
        assert await self._send(asked), f"the storm is over, and a send is not answered: {self.refused[-1:]}"
        async with asyncio.timeout(SETTLE_S):
            while not (self._is_over() and self._was_taken_in(asked)):
                if self._waiting_calls() and self._is_idle():
                    assert await self._act()
                    status = self._status_id()
                    while self._status_id() == status:
                        await self._next_change()
                else:
                    await self._next_change()
        results = [event for event in self.seen if event["type"] == "agent.tool_result"]
        assert not results[-1]["is_error"], results[-1]
        return "".join(block["text"] for block in results[-1]["content"]).split()

    async def history(self) -> list[dict[str, Any]]:
        """The whole history as it is listed; tried again while the gateway is away."""
        async with asyncio.timeout(SETTLE_S):
            while True:
                try:
                    return await self._list_once()
                except _GONE:
                    await asyncio.sleep(RECONNECT_S)

    # --- acting -----------------------------------------------------------------------------------------------------

    async def _act(self) -> bool:
        """Do what the session waits for: answer its calls, or begin a turn."""
        calls = self._waiting_calls()
        if calls:
            await asyncio.sleep(self._dice.uniform(*HOLD_S))
            return await self._send(*(self.turns.answer_to(use) for use in calls))
        return await self._send(self.turns.message())

    async def _disturb(self) -> None:
        """Now and then steer or interrupt a running turn."""
        if self._ending or self.step not in ("answering", "tool running"):
            return
        chance = self._dice.random()
        if chance < INTERRUPT_CHANCE:
            await self._send({"type": "user.interrupt"})
        elif chance < INTERRUPT_CHANCE + STEER_CHANCE:
            await self._send(self.turns.steering())

    async def _send(self, *events: dict[str, Any]) -> bool:
        """Send once. True when it was acknowledged, or its answer was lost and it is found in the list."""
        if self.step in ("between turns", "waiting"):
            self._at("sending")
        try:
            answer = await self._api.send(self.session_id, *events)
        except _GONE:
            return await self._look_for(events[0])
        if answer.status == 200:
            self.acknowledged += answer.json["data"]
            return True
        if answer.status < 500:
            self.refused.append(answer.text)
            return False
        return await self._look_for(events[0])

    async def _look_for(self, sent: dict[str, Any]) -> bool:
        """A send whose answer was lost may have happened or not."""
        self.lost += 1
        return any(_is_echo(found, sent) for found in await self.history())

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read the stream for ever, resuming where it broke."""
        while True:
            try:
                headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
                async with self._api.stream(self.session_id, headers=headers) as response:
                    if response.status == 200:
                        if not self._last_id:
                            await self._catch_up()
                        await self._follow(response)
            except _GONE:
                pass
            await asyncio.sleep(RECONNECT_S)

    async def _catch_up(self) -> None:
        """Without an id to resume from, the list says what came before the stream was open."""
        known = {event["id"] for event in self.seen}
        for event in await self._list_once():
            if event.get("processed_at") is not None and event["id"] not in known:
                self._caught_up.add(event["id"])
                await self._take(event)

    async def _follow(self, response: aiohttp.ClientResponse) -> None:
        read = frames(response)
        while True:
            async with asyncio.timeout(READER_SILENCE_S):
                frame = await anext(read, None)
            if frame is None:
                return
            if frame.data is not None:
                self._last_id = frame.id or ""
                if frame.data["id"] not in self._caught_up:
                    await self._take(frame.data)

    async def _list_once(self) -> list[dict[str, Any]]:
        path = f"/v1/sessions/{self.session_id}/events?limit=1000"
        found: list[dict[str, Any]] = []
        page = ""
        while True:
            answer = await self._api.call("GET", path + page)
            if answer.status != 200:
                raise ConnectionError(answer.text)
            found += answer.json["data"]
            if not answer.json["next_page"]:
                return found
            page = f"&page={answer.json['next_page']}"

    async def _take(self, event: dict[str, Any]) -> None:
        self.seen.append(event)
        self._at(self._step_after(event))
        async with self._changed:
            self._changed.notify_all()

    def _step_after(self, event: dict[str, Any]) -> Step:
        match event["type"]:
            case "span.model_request_start":
                return "answering"
            case "span.model_request_end" if self._open_calls():
                return "tool running"
            case "agent.tool_result":
                return "result recorded"
            case "session.status_idle":
                return "waiting" if self._waiting_calls() else "between turns"
            case _:
                return self.step

    def _at(self, step: Step) -> None:
        self.step = step
        self._moved()

    async def _open_gates(self) -> None:
        """Let each held request go after a while."""
        while True:
            await asyncio.sleep(self._dice.uniform(*HOLD_S))
            for gate in list(self.turns.gates):
                if await self._model.waiting_now(gate):
                    with contextlib.suppress(ValueError):
                        self.turns.gates.remove(gate)
                    if self.step == "answering":
                        self._at("finishing")
                    await self._model.open(gate)

    # --- what is known ----------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any] | None:
        return next((event for event in reversed(self.seen) if event["type"] in _STATUSES), None)

    def _status_id(self) -> str:
        status = self._status()
        return str(status["id"]) if status is not None else "new"

    def _is_idle(self) -> bool:
        status = self._status()
        return status is None or status["type"] == "session.status_idle"

    def _is_over(self) -> bool:
        status = self._status()
        if status is not None and status["type"] == "session.status_terminated":
            raise AssertionError(f"session {self.session_id} was terminated: {self.seen[-5:]}")
        return self._is_idle() and not self._waiting_calls()

    def _waiting_calls(self) -> list[dict[str, Any]]:
        status = self._status()
        if status is None or status["type"] != "session.status_idle":
            return []
        wanted = status["stop_reason"].get("event_ids", [])
        return [event for event in self.seen if event["id"] in wanted]

    def _was_taken_in(self, sent: dict[str, Any]) -> bool:
        return any(_is_echo(found, sent) for found in self.seen)

    def _open_calls(self) -> set[str]:
        results = {event.get("tool_use_id") for event in self.seen if event["type"] == "agent.tool_result"}
        return {event["id"] for event in self.seen if event["type"] == "agent.tool_use"} - results

    async def _next_change(self) -> None:
        """Wait for the next event; look by itself from time to time, for a turn may have to be asked for again."""
        async with self._changed:
            try:
                async with asyncio.timeout(READER_SILENCE_S):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _made(self, path: str, body: dict[str, Any]) -> Any:
        answer = await self._api.call("POST", path, body)
        assert answer.status == 200, answer.text
        return answer.json


def _is_echo(found: dict[str, Any], sent: dict[str, Any]) -> bool:
    return all(found.get(name) == value for name, value in sent.items())


def ids_of(events: Sequence[dict[str, Any]]) -> list[str]:
    """The ids of events."""
    return [str(event["id"]) for event in events]
