"""Model requests that fail: retried, given up, terminal, refused, or nonsense; a session is never stuck."""

from typing import Any

import pytest
from anthropic import AsyncAnthropic

from tests.support.model_control import ModelControl
from tests.support.playing import Played, fresh_name, message, of_type, scripted, text_of, types_of

END = ["session.thread_status_idle", "session.usage", "session.status_idle"]
OVERLOADED = {"status": 529, "type": "overloaded_error", "message": "Overloaded"}


async def test_a_failed_request_is_tried_again_and_the_turn_goes_on(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"error": {**OVERLOADED, "times": 1}, "text": "now"}))
    assert types_of(seen)[3:] == [
        "span.model_request_start", "span.model_request_end", "session.error", "session.thread_status_rescheduled",
        "session.status_rescheduled", "session.status_running", "session.thread_status_running",
        "span.model_request_start", "agent.message", "span.model_request_end", *END,
    ]  # fmt: skip
    (error,) = of_type(seen, "session.error")
    assert (error.error.type, error.error.retry_status.type) == ("model_overloaded_error", "retrying")
    assert [event.is_error for event in of_type(seen, "span.model_request_end")] == [True, False]
    assert types_of(await played.events()) == types_of(seen)


async def test_the_wait_that_the_provider_asks_for_is_kept(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    error = {"status": 429, "type": "rate_limit_error", "retry_after": 1, "times": 1}
    seen = await played.until_idle(scripted({"error": error, "text": "now"}))
    assert of_type(seen, "session.error")[0].error.type == "model_rate_limited_error"
    waited = of_type(seen, "session.status_running")[1].processed_at - seen[7].processed_at
    assert seen[7].type == "session.status_rescheduled"
    assert waited.total_seconds() >= 0.9


async def test_retries_end_and_the_queued_messages_stay_in_the_context(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, gate, word = await Played.create(client), fresh_name(), fresh_name("exhausted")
    async with played.watch() as watch:
        await played.send(scripted({"error": OVERLOADED, "gate": gate}, say=word))
        await model.waiting(gate)
        await played.send(message("queued meanwhile"))
        await model.open(gate)
        idle = await watch.until("session.status_idle")
    assert idle.stop_reason.type == "retries_exhausted"
    statuses = [event.error.retry_status.type for event in of_type(watch.seen, "session.error")]
    assert statuses == [*["retrying"] * (len(statuses) - 1), "exhausted"]
    assert len(statuses) > 1
    events = await played.events()
    assert [event.processed_at is not None for event in of_type(events, "user.message")] == [True, True]
    answered = await played.until_idle(scripted({"text": "yes"}, say="now?"))
    assert answered[-1].stop_reason.type == "end_turn"
    (request,) = [found for found in await model.requests(word) if "now?" in found["question"]]
    assert "queued meanwhile" in str(request["body"]["messages"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"status": 401, "type": "authentication_error", "message": "invalid x-api-key"}, "model_request_failed_error"),
        ({"status": 402, "type": "billing_error", "message": "no credit"}, "billing_error"),
        ({"status": 404, "type": "not_found_error", "message": "model: gone"}, "model_request_failed_error"),
    ],
    ids=["wrong key", "unpaid bill", "no such model"],
)
async def test_an_error_that_no_retry_can_heal_ends_the_turn_at_once(
    client: AsyncAnthropic, error: dict[str, Any], kind: str
) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"error": error}))
    (shown,) = of_type(seen, "session.error")
    assert (shown.error.type, shown.error.retry_status.type) == (kind, "exhausted")
    assert seen[-1].stop_reason.type == "retries_exhausted"
    assert (await played.until_idle(scripted({"text": "yes"})))[-1].stop_reason.type == "end_turn"
    await played.events()


async def test_a_history_that_the_provider_refuses_ends_the_session(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    error = {"status": 400, "type": "invalid_request_error", "message": "messages.0: is not to my taste"}
    seen = await played.until_idle(scripted({"error": error}))
    assert types_of(seen)[-3:] == [
        "session.error", "session.thread_status_terminated", "session.status_terminated",
    ]  # fmt: skip
    assert of_type(seen, "session.error")[0].error.retry_status.type == "terminal"
    assert (await played.retrieve()).status == "terminated"
    assert types_of(await played.events()) == types_of(seen)


async def test_a_refusal_ends_the_turn_with_its_details(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    refusal = {"category": "cyber", "explanation": "not this"}
    seen = await played.until_idle(scripted({"text": "I", "stop": "refusal", "refusal": refusal}))
    assert seen[-1].stop_reason.type == "refusal"
    assert seen[-1].stop_details.category == "cyber"
    assert seen[-1].stop_details.explanation == "not this"
    await played.events()


async def test_a_provider_without_its_key_names_the_variable(client: AsyncAnthropic) -> None:
    played = await Played.create(client, model="keyless/claude-sonnet-5-5")
    seen = await played.until_idle(message("hello"))
    (error,) = of_type(seen, "session.error")
    assert "A_KEY_THAT_NOBODY_SET" in error.error.message
    assert seen[-1].stop_reason.type == "retries_exhausted"


@pytest.mark.parametrize(
    "nonsense", ["bad_json", "no_stop", "tool_input", "long_line", "html", "empty", "disconnect", "after_stop"]
)
async def test_a_stream_of_nonsense_ends_in_an_error_and_never_in_a_stuck_session(
    client: AsyncAnthropic, nonsense: str
) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"text": "one two three", "nonsense": nonsense}))
    errors = of_type(seen, "session.error")
    assert errors
    assert errors[-1].error.retry_status.type == "exhausted"
    assert errors[-1].error.type == "model_request_failed_error"
    assert seen[-1].stop_reason.type == "retries_exhausted"
    assert (await played.until_idle(scripted({"text": "yes"})))[-1].stop_reason.type == "end_turn"
    await played.events()


async def test_what_a_newer_provider_may_add_is_ignored(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"text": "one two three", "nonsense": "unknown_events"}))
    assert [text_of(event) for event in of_type(seen, "agent.message")] == ["one two three"]
    assert seen[-1].stop_reason.type == "end_turn"


async def test_a_silent_provider_is_given_up(client: AsyncAnthropic) -> None:
    played = await Played.create(client, model="impatient/claude-sonnet-5-5")
    seen = await played.until_idle(scripted({"text": "x", "nonsense": "silence"}))
    assert of_type(seen, "session.error")[-1].error.retry_status.type == "exhausted"
    assert seen[-1].stop_reason.type == "retries_exhausted"


async def test_an_error_in_the_middle_of_a_stream_is_tried_again(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    error = {"type": "overloaded_error", "message": "Overloaded"}
    seen = await played.until_idle(scripted({"text": "half an ans", "stream_error": error}))
    assert {event.error.type for event in of_type(seen, "session.error")} == {"model_overloaded_error"}
    assert seen[-1].stop_reason.type == "retries_exhausted"
    assert of_type(seen, "agent.message") == []


async def test_a_tool_that_does_not_exist_is_denied_and_the_turn_goes_on(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"tool": "teleport", "input": {}}, {"text": "sorry"}))
    (use,), (result,) = of_type(seen, "agent.tool_use"), of_type(seen, "agent.tool_result")
    assert (use.evaluated_permission, use.evaluation) == ("deny", None)
    assert result.is_error
    assert text_of(of_type(seen, "agent.message")[0]) == "sorry"
    await played.events()
