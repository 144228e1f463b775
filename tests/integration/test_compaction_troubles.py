"""The request for a summary of a full context fails or is interrupted, and the session goes on all the same."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from anthropic import AsyncAnthropic

from tests.integration.conftest import model_environ
from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model
from tests.support.model_control import ModelControl
from tests.support.playing import Played, bash, interrupt, of_type, scripted, text_of, types_of

SUMMARY_MARK: Final = "Write a summary that will replace everything above"
FULL: Final = {"input_tokens": 3_500, "output_tokens": 100}
OVERLOADED: Final = {"status": 529, "type": "overloaded_error", "message": "Overloaded"}
SMALL: Final = "small/claude-sonnet-5-5"

Stack = tuple[AsyncAnthropic, ModelControl]


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Stack]:
    """A server and a model of its own: what is said of summaries here must not reach other tests."""
    with scripted_model() as url:
        server = EfferentServer(tmp_path / "data", model_environ(url, tmp_path))
        server.start()
        try:
            async with (
                AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client,
                aiohttp.ClientSession() as http,
            ):
                yield client, ModelControl(url, http)
        finally:
            assert server.stop() == 0
        assert server.errors() == []


@pytest.mark.timeout(300)
async def test_it_is_tried_again_and_an_interrupt_ends_it(own: Stack) -> None:
    client, model = own
    summary = {"error": {**OVERLOADED, "times": 2}, "gate": "summary", "text": "all in short"}
    await model.add_rule(SUMMARY_MARK, summary)
    await model.open("summary")
    failing = await Played.create(client, model=SMALL)
    seen = await failing.until_idle(scripted({**bash("echo hi"), "usage": FULL}, {"text": "done"}))
    assert seen[-1].stop_reason.type == "end_turn"
    assert types_of(seen).count("session.status_rescheduled") == 2
    assert types_of(seen).count("agent.thread_context_compacted") == 1
    await failing.events()

    await model.close("summary")
    cut = await Played.create(client, model=SMALL)
    async with cut.watch() as watch:
        await cut.send(scripted({**bash("echo hi"), "usage": FULL}, {"text": "never"}))
        await model.waiting("summary")
        await cut.send(interrupt())
        idle = await watch.until("session.status_idle")
    assert idle.stop_reason.type == "end_turn"
    assert "agent.thread_context_compacted" not in types_of(watch.seen)
    # The summary is made up for when the session is asked again.
    await model.open("summary")
    seen = await cut.until_idle(scripted({"text": "on we go"}))
    assert "agent.thread_context_compacted" in types_of(seen)
    assert text_of(of_type(seen, "agent.message")[-1]) == "on we go"
    await cut.events()


@pytest.mark.timeout(300)
async def test_one_that_always_fails_ends_turns_and_not_the_session(own: Stack) -> None:
    client, model = own
    await model.add_rule(SUMMARY_MARK, {"error": OVERLOADED})
    played = await Played.create(client, model=SMALL)
    seen = await played.until_idle(scripted({**bash("echo hi"), "usage": FULL}, {"text": "never"}))
    assert seen[-1].stop_reason.type == "retries_exhausted"
    again = await played.until_idle(scripted({"text": "never"}))
    assert again[-1].stop_reason.type == "retries_exhausted"
    assert (await played.retrieve()).status == "idle"
    await played.events()
