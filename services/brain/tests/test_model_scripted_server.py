"""The scripted model itself, and its control interface, from outside: as a process and over HTTP."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.scripted_model import ScriptedModel
from tests.support.scripted_model.anthropic_wire import read_question
from tests.support.scripted_model.script import SCRIPT_ENDED, Question


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def body(*messages: tuple[str, Any]) -> bytes:
    return orjson.dumps({"model": "m", "messages": [{"role": role, "content": content} for role, content in messages]})


async def text_of(http: aiohttp.ClientSession, url: str, data: bytes) -> str:
    async with http.post(f"{url}/v1/messages", data=data) as response:
        lines = (await response.read()).splitlines()
    events = [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


async def test_steps_follow_the_history_and_not_the_requests(
    server: ScriptedModel, http: aiohttp.ClientSession
) -> None:
    question = ("user", 'script: [{"text": "first"}, {"text": "second"}]')
    answered = (question, ("assistant", "first"), ("user", [{"type": "tool_result", "tool_use_id": "t"}]))
    for _ in range(2):
        assert await text_of(http, server.url, body(question)) == "first"
        assert await text_of(http, server.url, body(*answered)) == "second"
    ended = await text_of(http, server.url, body(*answered, ("assistant", "second")))
    assert ended == SCRIPT_ENDED


async def test_rule_and_gate_hold_an_answer_until_a_reader_is_there(
    server: ScriptedModel, http: aiohttp.ClientSession
) -> None:
    rule = {"match": "weather", "script": [{"text": "sunny", "gate": "reader"}]}
    async with http.post(f"{server.url}/control/rules", data=orjson.dumps(rule)) as response:
        assert response.status == 200
    asking = asyncio.create_task(text_of(http, server.url, body(("user", "the weather?"))))
    async with http.get(f"{server.url}/control/gates/reader/waiting") as response:
        assert await response.json() == {"open": False, "waiting": 1}
    async with http.post(f"{server.url}/control/gates/reader") as response:
        assert (await response.json())["open"] is True
    assert await asking == "sunny"


async def test_requests_and_counters_are_told(server: ScriptedModel, http: aiohttp.ClientSession) -> None:
    for words in ("apple", "apple", "pear"):
        await text_of(http, server.url, body(("user", words)))
    async with http.get(f"{server.url}/control/requests?contains=apple") as response:
        shown = await response.json()
    assert [request["body"]["messages"][0]["content"] for request in shown] == ["apple", "apple"]
    async with http.get(f"{server.url}/control/counters?wait=requests&at_least=3") as response:
        counters = await response.json()
    assert counters["requests"] == 3
    assert {"question": "apple", "step": 0, "count": 2} in counters["by_question"]


async def test_script_that_cannot_be_read_is_a_400(server: ScriptedModel, http: aiohttp.ClientSession) -> None:
    for words in ("script: [{", 'script: [{"txt": "x"}]'):
        async with http.post(f"{server.url}/v1/messages", data=body(("user", words))) as response:
            assert response.status == 400
            assert "cannot be read" in await response.text()


def test_question_of_a_long_history_is_the_same_as_of_a_short_one() -> None:
    filler = [("user", "x" * 20_000), ("assistant", "y")]
    text = [{"type": "text", "text": "now?"}]
    ends: list[list[tuple[str, Any]]] = [
        [("user", text)],
        [("user", text), ("assistant", "a"), ("user", [{"type": "tool_result", "tool_use_id": "t", "content": text}])],
        [("user", text), ("system", text)],
    ]
    assert [read_question(body(*filler, *end)) for end in ends] == [
        Question("now?", 0),
        Question("now?", 1),
        Question("now?", 0),
    ]


async def test_it_runs_by_itself_and_prints_its_address(http: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.scripted_model", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    assert await text_of(http, url, body(("user", "hi"))) == "You said: hi"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
