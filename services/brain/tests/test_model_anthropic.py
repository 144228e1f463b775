"""The Anthropic adapter against the scripted server: streams, errors, nonsense, limits and cancelling."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from efferent.brain.adapters import anthropic_model
from efferent.brain.adapters.anthropic_model import AnthropicModel
from efferent.brain.ports import ModelFailure, TextDelta, ThinkingStarted, ToolCallDraft
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.model_config import load
from tests.support.scripted_model import ScriptedModel
from tests.support.scripted_model.asking import ask, assistant, call, collect, result, script, user

KEY = "sk-ant-test-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedModel) -> AsyncIterator[AnthropicModel]:
    adapter = make(server.url)
    yield adapter
    await adapter.close()


def make(url: str, *, environ: dict[str, str] | None = None, **settings: Any) -> AnthropicModel:
    environ = {"ANTHROPIC_API_KEY": KEY} if environ is None else environ
    configs = load({**environ, "ANTHROPIC_BASE_URL": url})
    provider = configs.route("claude-opus-5").model_copy(update=settings)
    return AnthropicModel(provider, environ, configs.traits)


async def failure_of(model: AnthropicModel, *steps: dict[str, Any]) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await collect(model.stream(ask(script(*steps))))
    return caught.value


async def test_plain_text_is_streamed_and_counted(model: AnthropicModel) -> None:
    chunks, reply = await collect(model.stream(ask(user("hello there"))))
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == "You said: hello there"
    assert {chunk.block for chunk in chunks if isinstance(chunk, TextDelta)} == {0}
    assert reply.parts == (TextBlock(text="You said: hello there"),)
    assert reply.stop == "end_turn"
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens == 4


async def test_request_carries_key_version_and_betas(server: ScriptedModel, model: AnthropicModel) -> None:
    await collect(model.stream(ask(user("hi"), model="claude-opus-5-5")))
    headers = server.requests[0].headers
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"
    assert "authorization" not in headers


async def test_bearer_token_is_used_when_there_is_no_key(server: ScriptedModel) -> None:
    model = make(server.url, environ={"ANTHROPIC_AUTH_TOKEN": "token-1"})
    await collect(model.stream(ask(user("hi"))))
    assert server.requests[0].headers["authorization"] == "Bearer token-1"
    assert "x-api-key" not in server.requests[0].headers
    await model.close()


async def test_missing_key_names_its_variables_and_asks_nobody(server: ScriptedModel) -> None:
    failure = await failure_of(make(server.url, environ={}), {"text": "x"})
    assert (failure.kind, failure.verdict) == ("model_request_failed", "exhausted")
    assert "ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN" in failure.message
    assert server.requests == []


async def test_thinking_text_and_parallel_calls_keep_their_places(model: AnthropicModel) -> None:
    step = {
        "thinking": "let me see",
        "redacted": "blob",
        "text": "I look.",
        "tools": [{"tool": "bash", "input": {"command": "ls"}}, {"tool": "read", "input": {}}],
    }
    chunks, reply = await collect(model.stream(ask(script(step))))
    assert chunks[:2] == [ThinkingStarted(0), ThinkingStarted(1)]
    assert chunks[2:] == [TextDelta(2, "I "), TextDelta(2, "look.")]
    assert reply.parts == (
        Thought("claude-opus-5", "let me see", "sig:let me see", None),
        Thought("claude-opus-5", "", None, "blob"),
        TextBlock(text="I look."),
        ToolCallDraft("bash", {"command": "ls"}),
        ToolCallDraft("read", {}),
    )
    assert reply.stop == "tool_use"


async def test_thinking_and_calls_are_replayed_with_signature_and_event_ids(
    server: ScriptedModel, model: AnthropicModel
) -> None:
    question = script({"thinking": "hm", "tool": "bash", "input": {"command": "ls"}}, {"text": "done"})
    _, first = await collect(model.stream(ask(question)))
    thought = first.parts[0]
    assert isinstance(thought, Thought)
    answered = assistant(thought, call("sevt_1", command="ls")), user(result("sevt_1", "a.txt"))
    _, second = await collect(model.stream(ask(question, *answered)))
    assert second.parts == (TextBlock(text="done"),)
    sent = server.requests[1].body["messages"]
    assert sent[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig:hm"},
        {"type": "tool_use", "id": "sevt_1", "name": "bash", "input": {"command": "ls"}},
    ]
    assert sent[2]["content"][0]["tool_use_id"] == "sevt_1"


async def test_usage_with_cache_tokens_is_reported(model: AnthropicModel) -> None:
    usage = {
        "input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 11, "cache_read_input_tokens": 13,
    }  # fmt: skip
    _, reply = await collect(model.stream(ask(script({"text": "x", "usage": usage}))))
    assert reply.usage.model_dump(exclude={"speed"}) == usage


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("end_turn", "end_turn"),
        ("stop_sequence", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("pause_turn", "pause_turn"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_window_exceeded"),
    ],
)
async def test_stop_reasons(model: AnthropicModel, sent: str, meant: str) -> None:
    _, reply = await collect(model.stream(ask(script({"text": "x", "stop": sent}))))
    assert reply.stop == meant


async def test_refusal_carries_its_details(model: AnthropicModel) -> None:
    step = {"stop": "refusal", "refusal": {"category": "bio", "explanation": "no"}}
    _, reply = await collect(model.stream(ask(script(step))))
    assert reply.refusal is not None
    assert (reply.refusal.category, reply.refusal.explanation) == ("bio", "no")
    strange = {"stop": "refusal", "refusal": {"category": "new_one", "explanation": 3}}
    _, reply = await collect(model.stream(ask(script(strange))))
    assert reply.refusal is not None
    assert (reply.refusal.category, reply.refusal.explanation) == (None, None)


async def test_unknown_events_and_blocks_are_passed_over(model: AnthropicModel) -> None:
    _, reply = await collect(model.stream(ask(script({"text": "fine", "nonsense": "unknown_events"}))))
    assert reply.parts == (TextBlock(text="fine"),)


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        ("bad_json", "not JSON"),
        ("no_stop", "ended before message_stop"),
        ("after_stop", "after message_stop"),
        ("tool_input", "not a JSON object"),
        ("long_line", "line is longer than 1048576 bytes"),
        ("endless", "stream is longer than 67108864 bytes"),
        ("html", "text/html"),
        ("empty", "ended before message_stop"),
        ("disconnect", "connection failed"),
    ],
)
async def test_stream_of_nonsense_is_a_failure_that_may_be_tried_again(
    model: AnthropicModel, nonsense: str, words: str
) -> None:
    failure = await failure_of(model, {"text": "some words", "nonsense": nonsense})
    assert (failure.kind, failure.verdict) == ("model_request_failed", "retryable")
    assert words in failure.message
    _, reply = await collect(model.stream(ask(user("still there?"))))
    assert reply.stop == "end_turn"


async def test_silence_ends_with_a_failure(server: ScriptedModel) -> None:
    model = make(server.url, silence_timeout_s=0.2)
    failure = await failure_of(model, {"nonsense": "silence"})
    assert (failure.kind, failure.verdict) == ("model_request_failed", "retryable")
    assert "timed out" in failure.message
    await model.close()


async def test_whole_request_has_a_time_limit(server: ScriptedModel) -> None:
    model = make(server.url, request_timeout_s=0.2)
    failure = await failure_of(model, {"text": "x", "gate": "never"})
    assert failure.verdict == "retryable"
    assert "timed out" in failure.message
    await model.close()


async def test_stream_that_stays_open_after_its_end_costs_the_connection_only(
    server: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_model, "AFTER_STOP_S", 0.05)
    model = make(server.url)
    _, reply = await collect(model.stream(ask(script({"text": "x", "nonsense": "linger"}))))
    assert reply.parts == (TextBlock(text="x"),)
    await model.close()


@pytest.mark.parametrize(
    ("status", "error_type", "kind", "verdict"),
    [
        (400, "invalid_request_error", "model_request_failed", "terminal"),
        (401, "authentication_error", "model_request_failed", "exhausted"),
        (402, "billing_error", "billing", "exhausted"),
        (403, "permission_error", "model_request_failed", "exhausted"),
        (404, "not_found_error", "model_request_failed", "exhausted"),
        (413, "request_too_large", "model_request_failed", "terminal"),
        (429, "rate_limit_error", "model_rate_limited", "retryable"),
        (500, "api_error", "model_request_failed", "retryable"),
        (503, "api_error", "model_request_failed", "retryable"),
        (529, "overloaded_error", "model_overloaded", "retryable"),
    ],
)
async def test_errors_by_status_and_inside_the_stream_mean_the_same(
    model: AnthropicModel, status: int, error_type: str, kind: str, verdict: str
) -> None:
    refused = await failure_of(model, {"error": {"status": status, "type": error_type, "message": "because"}})
    assert (refused.kind, refused.verdict) == (kind, verdict)
    assert str(status) in refused.message
    if status != 503:
        inside = await failure_of(model, {"text": "so", "stream_error": {"type": error_type, "message": "because"}})
        assert (inside.kind, inside.verdict) == (kind, verdict)


async def test_refused_key_names_the_variable_and_not_the_key(model: AnthropicModel) -> None:
    error = {"status": 401, "type": "authentication_error", "message": f"invalid x-api-key {KEY}"}
    failure = await failure_of(model, {"error": error})
    assert "ANTHROPIC_API_KEY" in failure.message
    assert KEY not in failure.message


async def test_key_that_the_provider_quotes_is_taken_out(model: AnthropicModel) -> None:
    error = {"status": 400, "type": "invalid_request_error", "message": f"odd header {KEY}"}
    assert KEY not in (await failure_of(model, {"error": error})).message


async def test_retry_after_is_passed_on(model: AnthropicModel) -> None:
    failure = await failure_of(model, {"error": {"status": 429, "type": "rate_limit_error", "retry_after": 7}})
    assert failure.retry_after_s == 7


async def test_prompt_that_is_too_long_is_an_overflow_and_not_a_failure(model: AnthropicModel) -> None:
    remark = "prompt is too long: 1000300 tokens > 1000000 maximum"
    by_status = {"error": {"status": 400, "type": "invalid_request_error", "message": remark}}
    inside = {"stream_error": {"type": "invalid_request_error", "message": remark}}
    for step in (by_status, inside):
        _, reply = await collect(model.stream(ask(script(step))))
        assert (reply.parts, reply.stop) == ((), "context_window_exceeded")


async def test_redirect_is_not_followed(server: ScriptedModel, model: AnthropicModel) -> None:
    step = {"error": {"status": 307, "headers": {"location": f"{server.url}/v1/messages"}}}
    failure = await failure_of(model, step)
    assert failure.verdict == "exhausted"
    assert len(server.requests) == 1


async def test_nobody_listening_is_a_failure_that_may_be_tried_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model = make(f"http://127.0.0.1:{unused.getsockname()[1]}")
        failure = await failure_of(model, {"text": "x"})
    assert (failure.kind, failure.verdict) == ("model_request_failed", "retryable")
    assert "connection failed" in failure.message
    await model.close()


async def test_text_arrives_before_the_answer_is_whole(server: ScriptedModel, model: AnthropicModel) -> None:
    stream = model.stream(ask(script({"text": "one two three", "gate": "rest", "gate_after": 1})))
    async with aclosing(stream):
        assert await anext(stream) == TextDelta(0, "one ")
        await server.books.waiting("rest")
        await server.books.open_gate("rest")
        rest = [chunk async for chunk in stream]
    assert rest[:2] == [TextDelta(0, "two "), TextDelta(0, "three")]


async def test_closing_the_iterator_closes_the_connection(server: ScriptedModel, model: AnthropicModel) -> None:
    stream = model.stream(ask(script({"text": "one two", "gate": "never", "gate_after": 1})))
    assert await anext(stream) == TextDelta(0, "one ")
    await stream.aclose()
    await server.books.counted("disconnected")


async def test_cancelling_the_task_closes_the_connection(server: ScriptedModel, model: AnthropicModel) -> None:
    asking = asyncio.create_task(collect(model.stream(ask(script({"text": "one", "gate": "never"})))))
    await server.books.waiting("never")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await server.books.counted("disconnected")


async def test_history_of_megabytes_is_sent_whole(server: ScriptedModel, model: AnthropicModel) -> None:
    history = [message for index in range(40) for message in (user(f"{index}" + "x" * 50_000), assistant("y"))]
    for _ in range(2):
        _, reply = await collect(model.stream(ask(*history, user("and now?"))))
        assert reply.parts == (TextBlock(text="You said: and now?"),)
    first, second = server.requests
    assert first.raw == second.raw
    assert int(first.headers["content-length"]) == len(first.raw) > 2_000_000


async def test_connection_is_used_again(server: ScriptedModel, model: AnthropicModel) -> None:
    for _ in range(5):
        await collect(model.stream(ask(user("hi"))))
    assert server.connections == 1
