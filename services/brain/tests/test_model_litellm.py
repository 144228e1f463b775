"""Models behind litellm, against the scripted OpenAI-compatible server. The library is imported once per process."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from efferent.brain.adapters.litellm_model import Litellm, LitellmModel
from efferent.brain.adapters.litellm_request import chat_messages
from efferent.brain.ports import ModelFailure, TextDelta, ThinkingStarted, ToolCallDraft
from efferent.common.domain.content import Base64Source, DocumentBlock, ImageBlock, PlainTextSource, TextBlock
from efferent.common.domain.context import Thought, ToolResult
from efferent.common.domain.ids import EventId
from efferent.common.model_config import load
from tests.support.scripted_model import ScriptedModel
from tests.support.scripted_model.asking import BASH, ask, assistant, call, collect, result, script, system, user

MODEL = "openai/house-model"
# litellm and what it imports warn of their own deprecations; they are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning"),
    pytest.mark.xdist_group("litellm"),
    pytest.mark.timeout(240),  # the import takes 5 s by itself, and much longer on a busy machine
]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedModel) -> AsyncIterator[LitellmModel]:
    litellm = Litellm()
    await litellm.load()
    yield make(server, litellm)
    await litellm.close()


def make(server: ScriptedModel, litellm: Litellm, **settings: Any) -> LitellmModel:
    environ = {"OPENAI_API_KEY": "sk-open-0123456789", "OPENAI_BASE_URL": f"{server.url}/v1"}
    configs = load(environ)
    provider = configs.route(MODEL).model_copy(update=settings)
    return LitellmModel(provider, environ, configs.traits, litellm)


async def test_text_is_streamed_and_counted(server: ScriptedModel, model: LitellmModel) -> None:
    step = {"text": "one two", "usage": {"input_tokens": 30, "output_tokens": 2, "cache_read_input_tokens": 10}}
    chunks, reply = await collect(model.stream(ask(script(step), model=MODEL, system_prompt="Be kind.")))
    assert chunks == [TextDelta(0, "one "), TextDelta(0, "two")]
    assert reply.parts == (TextBlock(text="one two"),)
    assert reply.stop == "end_turn"
    assert (reply.usage.input_tokens, reply.usage.cache_read_input_tokens, reply.usage.output_tokens) == (20, 10, 2)
    recorded = server.requests[0]
    assert recorded.headers["authorization"] == "Bearer sk-open-0123456789"
    assert recorded.body["model"] == "house-model"
    assert recorded.body["messages"][0] == {"role": "system", "content": "Be kind."}
    assert "reasoning_effort" not in recorded.body


async def test_tools_are_called_and_their_results_sent_back(server: ScriptedModel, model: LitellmModel) -> None:
    tools = [{"tool": "bash", "input": {"command": "ls"}}, {"tool": "bash", "input": {}}]
    question = script({"text": "I look.", "tools": tools}, {"text": "done"})
    _, first = await collect(model.stream(ask(question, model=MODEL, tools=[BASH])))
    assert first.parts == (
        TextBlock(text="I look."),
        ToolCallDraft("bash", {"command": "ls"}),
        ToolCallDraft("bash", {}),
    )
    assert first.stop == "tool_use"
    history = (
        assistant("I look.", call("sevt_1", command="ls"), call("sevt_2")),
        user(result("sevt_1", "a.txt"), result("sevt_2", "no", is_error=True)),
    )
    _, second = await collect(model.stream(ask(question, *history, model=MODEL, tools=[BASH])))
    assert second.parts == (TextBlock(text="done"),)
    sent = server.requests[1].body
    assert sent["tools"][0]["function"]["name"] == "bash"
    assert [part["id"] for part in sent["messages"][1]["tool_calls"]] == ["sevt_1", "sevt_2"]
    assert sent["messages"][2:] == [
        {"role": "tool", "tool_call_id": "sevt_1", "content": "a.txt"},
        {"role": "tool", "tool_call_id": "sevt_2", "content": "Error: no"},
    ]


async def test_reasoning_becomes_thinking_before_the_text(model: LitellmModel) -> None:
    chunks, reply = await collect(model.stream(ask(script({"thinking": "hm", "text": "so"}), model=MODEL)))
    assert chunks == [ThinkingStarted(0), TextDelta(1, "so")]
    assert reply.parts == (Thought(MODEL, "hm", None, None), TextBlock(text="so"))


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (400, "model_request_failed", "terminal"),
        (401, "model_request_failed", "exhausted"),
        (404, "model_request_failed", "exhausted"),
        (429, "model_rate_limited", "retryable"),
        (500, "model_request_failed", "retryable"),
        (503, "model_request_failed", "retryable"),
    ],
)
async def test_errors_by_status(
    server: ScriptedModel, model: LitellmModel, status: int, kind: str, verdict: str
) -> None:
    step = {"error": {"status": status, "type": "some_error", "message": "because"}}
    with pytest.raises(ModelFailure) as caught:
        await collect(model.stream(ask(script(step), model=MODEL)))
    assert (caught.value.kind, caught.value.verdict) == (kind, verdict)
    assert "sk-open" not in caught.value.message
    assert len(server.requests) == 1


async def test_history_that_is_too_long_is_an_overflow(model: LitellmModel) -> None:
    remark = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    step = {"error": {"status": 400, "type": "invalid_request_error", "message": remark}}
    _, reply = await collect(model.stream(ask(script(step), model=MODEL)))
    assert reply.stop == "context_window_exceeded"


@pytest.mark.parametrize("nonsense", ["bad_json", "disconnect", "empty", "tool_input"])
async def test_nonsense_may_be_tried_again(model: LitellmModel, nonsense: str) -> None:
    step = (
        {"tool": "bash", "input": ["rm"]} if nonsense == "tool_input" else {"text": "a b c d e", "nonsense": nonsense}
    )
    with pytest.raises(ModelFailure) as caught:
        await collect(model.stream(ask(script(step), model=MODEL)))
    assert caught.value.verdict == "retryable"


async def test_silence_ends_with_a_failure(server: ScriptedModel, model: LitellmModel) -> None:
    quick = make(server, model._litellm, silence_timeout_s=0.3, connect_timeout_s=0.1)
    with pytest.raises(ModelFailure, match="timed out") as caught:
        await collect(quick.stream(ask(script({"text": "a b", "gate": "never", "gate_after": 1}), model=MODEL)))
    assert caught.value.verdict == "retryable"


async def test_missing_key_names_its_variable() -> None:
    configs = load({})
    model = LitellmModel(configs.route("gpt-9"), {}, configs.traits, Litellm())
    with pytest.raises(ModelFailure, match="set OPENAI_API_KEY") as caught:
        await collect(model.stream(ask(user("hi"), model="gpt-9")))
    assert caught.value.verdict == "exhausted"


async def test_cancelling_closes_the_connection(server: ScriptedModel, model: LitellmModel) -> None:
    asking = asyncio.create_task(collect(model.stream(ask(script({"text": "a", "gate": "never"}), model=MODEL))))
    await server.books.waiting("never")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await server.books.counted("disconnected")


def test_media_and_system_text_are_written_for_chat_templates() -> None:
    image = ImageBlock(source=Base64Source(media_type="image/png", data="aGk="))
    pdf = DocumentBlock(source=Base64Source(media_type="application/pdf", data="aGk="), title="t.pdf")
    words = DocumentBlock(source=PlainTextSource(data="words"))
    given = ToolResult(EventId("sevt_1"), (TextBlock(text="see"), image), False)
    messages = chat_messages(
        ask(user("a"), system("note"), assistant(call("sevt_1")), user(given, pdf, words), model=MODEL)
    )
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert messages[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "<system-message>\nnote\n</system-message>"},
    ]
    assert messages[2] == {"role": "tool", "tool_call_id": "sevt_1", "content": "see\n[image, see below]"}
    assert messages[3]["content"] == [
        picture,
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "t.pdf"}},
        {"type": "text", "text": "words"},
    ]


_WATCHED = """
import asyncio, json, sys
addresses = []
def watch(event, arguments):
    if event == "socket.connect":
        addresses.append(arguments[1][0] if isinstance(arguments[1], tuple) else str(arguments[1]))
    elif event == "socket.getaddrinfo":
        addresses.append(str(arguments[0]))
sys.addaudithook(watch)
from efferent.brain.models.assembly import build_models
from efferent.common.model_config import load
from tests.support.scripted_model.asking import ask, collect, user
async def main():
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": sys.argv[1]}
    models = build_models(load(environ), environ)
    assert "litellm" not in sys.modules
    await models.start()
    assert "litellm" in sys.modules
    _, reply = await collect(models.stream(ask(user("hi"), model="openai/house-model")))
    await models.close()
    return reply.parts[0].text
text = asyncio.run(main())
print(json.dumps({"text": text, "addresses": sorted(set(map(str, addresses)))}))
"""


async def test_nothing_phones_home(server: ScriptedModel) -> None:
    """In a process of its own: an audit hook sees every connection, and cannot be taken out again."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", _WATCHED, f"{server.url}/v1",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    seen = json.loads(output.splitlines()[-1])
    assert seen["text"] == "You said: hi"
    assert set(seen["addresses"]) == {"127.0.0.1"}
