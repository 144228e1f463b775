"""Two brains on one log: one dies, drains or is paused, and the other goes on with its sessions."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from anthropic import AsyncAnthropic

from tests.chaos.weather import storm_server
from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model
from tests.support.model_control import ModelControl
from tests.support.playing import Played, Watch, fresh_name, of_type, scripted, text_of

SESSIONS: Final = 12
FAIL_OVER_S: Final = 20.0
"""Deadline, not a measure: the benchmark measures it."""
HAND_OVER_S: Final = 2.0
"""Below what a fail-over takes at the least, since the dead are called dead after 2.5 s."""
HAND_OVERS_MAX: Final = 4
"""A machine that stalls makes a hand-over late now and then; a fail-over is never early."""


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with scripted_model() as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_url: str) -> Iterator[EfferentServer]:
    with storm_server(tmp_path_factory.mktemp("brains"), model_url) as running:
        yield running


@pytest.fixture
async def client(server: EfferentServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def model(model_url: str) -> AsyncIterator[ModelControl]:
    async with aiohttp.ClientSession() as http:
        yield ModelControl(model_url, http)


@pytest.fixture
def second_brain(server: EfferentServer, tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A brain that nobody supervises."""
    with server.beside("brain", tmp_path / "brain.log") as process:
        yield process


class Held:
    """Sessions whose model requests are held at one gate."""

    def __init__(self, played: list[Played], watches: list[Watch], gate: str, model: ModelControl) -> None:
        self.played = played
        self.watches = watches
        self.gate = gate
        self.model = model

    def taken_over(self) -> list[Watch]:
        """Sessions whose request was begun again by another brain."""
        return [watch for watch in self.watches if len(of_type(watch.seen, "span.model_request_start")) > 1]

    async def first_taken_over(self, deadline_s: float) -> None:
        """Return when one of the sessions was taken over."""
        restarts = [
            asyncio.create_task(watch.until("span.model_request_start", count=2, deadline_s=deadline_s))
            for watch in self.watches
        ]
        try:
            await asyncio.wait(restarts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for restart in restarts:
                restart.cancel()
            results = await asyncio.gather(*restarts, return_exceptions=True)
        assert self.taken_over(), results

    async def finish(self) -> None:
        """Let the requests go; every turn ends once, with one answer."""
        await self.model.open(self.gate)
        for watch, played in zip(self.watches, self.played, strict=True):
            idle = await watch.until("session.status_idle")
            assert idle.stop_reason.type == "end_turn"
            events = await played.events()
            assert [text_of(event) for event in of_type(events, "agent.message")] == ["held"]
            assert [event.id for event in events] == [event.id for event in watch.seen]


@contextlib.asynccontextmanager
async def held_sessions(client: AsyncAnthropic, model: ModelControl) -> AsyncIterator[Held]:
    """As many sessions as both brains share, each in the middle of a model request."""
    gate = fresh_name()
    played = list(await asyncio.gather(*(Played.create(client) for _ in range(SESSIONS))))
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(each.watch()) for each in played]
        step: dict[str, Any] = {"text": "held", "gate": gate}
        await asyncio.gather(*(each.send(scripted(step)) for each in played))
        await model.waiting(gate, SESSIONS)
        yield Held(played, watches, gate, model)


async def when_taken_over(held: Held, deadline_s: float) -> float:
    """Seconds until the sessions of the other brain were taken over and their requests are held again."""
    started = time.monotonic()
    async with asyncio.timeout(deadline_s):
        await held.first_taken_over(deadline_s)
        await held.model.waiting(held.gate, SESSIONS)
    return time.monotonic() - started


@pytest.mark.timeout(300)
async def test_a_killed_brains_sessions_go_on(
    client: AsyncAnthropic, model: ModelControl, second_brain: "subprocess.Popen[bytes]"
) -> None:
    async with held_sessions(client, model) as held:
        os.kill(second_brain.pid, signal.SIGKILL)
        seconds = await when_taken_over(held, FAIL_OVER_S)
        print(f"fail-over of {len(held.taken_over())} sessions took {seconds:.2f} s")
        for watch in held.taken_over():
            first = of_type(watch.seen, "span.model_request_end")[0]
            assert first.is_error
            assert len(of_type(watch.seen, "session.status_running")) == 1
        await held.finish()


@pytest.mark.timeout(300)
async def test_a_draining_brain_hands_its_sessions_over(
    client: AsyncAnthropic, model: ModelControl, server: EfferentServer, tmp_path: Path
) -> None:
    for number in range(HAND_OVERS_MAX):
        with server.beside("brain", tmp_path / f"brain-{number}.log") as draining:
            async with held_sessions(client, model) as held:
                draining.terminate()
                seconds = await when_taken_over(held, FAIL_OVER_S)
                print(f"hand-over of {len(held.taken_over())} sessions took {seconds:.2f} s")
                assert await asyncio.to_thread(draining.wait, 20) == 0
                await held.finish()
        if seconds < HAND_OVER_S:
            return
    pytest.fail(f"each of {HAND_OVERS_MAX} hand-overs took longer than {HAND_OVER_S} s")


@pytest.mark.timeout(300)
async def test_a_brain_that_was_paused_has_lost_its_sessions(
    client: AsyncAnthropic, model: ModelControl, second_brain: "subprocess.Popen[bytes]"
) -> None:
    async with held_sessions(client, model) as held:
        second_brain.send_signal(signal.SIGSTOP)
        # The paused brain's own requests stay open: those of the other one come on top of them.
        await held.first_taken_over(2 * FAIL_OVER_S)
        await model.open(held.gate)
        second_brain.send_signal(signal.SIGCONT)
        await held.finish()
    assert second_brain.poll() is None
