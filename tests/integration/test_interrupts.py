"""An interrupt at every point: what goes on ends in error, the session is idle, what follows is another turn."""

import pytest
from anthropic import AsyncAnthropic

from tests.support.model_control import ModelControl
from tests.support.playing import (
    Played,
    bash,
    custom_tool,
    fresh_name,
    interrupt,
    message,
    of_type,
    scripted,
    text_of,
    toolset,
    types_of,
)

END = ["session.thread_status_idle", "session.usage", "session.status_idle"]
BEGIN = ["session.status_running", "session.thread_status_running"]
INTERRUPTED = "Tool execution was interrupted before completion. Please retry."


@pytest.mark.parametrize("step", [{"text": "never"}, {"text": "some words are said", "gate_after": 1}])
async def test_while_the_model_answers_its_request_ends_in_error(
    client: AsyncAnthropic, model: ModelControl, step: dict[str, object]
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({**step, "gate": gate}))
        await model.waiting(gate)
        (echo,) = await played.send(interrupt())
        assert echo.processed_at is None
        idle = await watch.until("session.status_idle")
        await model.counted("disconnected")
    assert types_of(watch.seen)[3:] == ["span.model_request_start", "span.model_request_end", "user.interrupt", *END]
    assert of_type(watch.seen, "span.model_request_end")[0].is_error
    assert idle.stop_reason.type == "end_turn"
    assert types_of(await played.events()) == types_of(watch.seen)


async def test_while_a_tool_runs_its_call_gets_an_error_result(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch() as watch:
        await played.send(scripted(bash("touch begun; sleep 30; touch late"), {"text": "never"}))
        await watch.until("agent.tool_use")
        await played.send(interrupt())
        await watch.until("session.status_idle", deadline_s=15)
    assert types_of(watch.seen)[6:] == ["agent.tool_result", "user.interrupt", *END]
    (result,) = of_type(watch.seen, "agent.tool_result")
    assert (result.is_error, text_of(result)) == (True, INTERRUPTED)
    # The shell is usable again, and what the call still wanted to do was never done.
    seen = await played.until_idle(scripted(bash("ls; echo alive"), {"text": "x"}))
    (listed,) = of_type(seen, "agent.tool_result")
    assert "alive" in text_of(listed)
    assert "late" not in text_of(listed)
    await played.events()


async def test_with_one_of_two_calls_done_only_the_other_fails(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    write = {"tool": "write", "input": {"file_path": "/workspace/a", "content": "a"}}
    async with played.watch() as watch:
        await played.send(scripted({"tools": [bash("sleep 30"), write]}, {"text": "never"}))
        await watch.until("agent.tool_result")
        await played.send(interrupt())
        await watch.until("session.status_idle")
    first, second = of_type(watch.seen, "agent.tool_result")
    assert (first.is_error, second.is_error) == (False, True)
    await played.events()


async def test_while_it_waits_for_a_confirmation_the_calls_are_closed(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, word = await Played.create(client, tools=[toolset("always_ask")]), fresh_name("asked")
    await played.until_idle(scripted({"tools": [bash("echo 1"), bash("echo 2")]}, {"text": "never"}, say=word))
    seen = await played.until_idle(interrupt())
    assert types_of(seen) == ["agent.tool_result", "agent.tool_result", "user.interrupt", *END]
    assert [text_of(event) for event in seen[:2]] == [INTERRUPTED, INTERRUPTED]
    assert seen[-1].stop_reason.type == "end_turn"
    assert len(await model.requests(word)) == 1
    again = await played.until_idle(message("hello"))
    assert again[-1].stop_reason.type == "end_turn"
    await played.events()


async def test_while_it_waits_for_a_custom_tool_the_call_is_closed(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[custom_tool()])
    await played.until_idle(scripted({"tool": "look_up", "input": {"key": "a"}}, {"text": "never"}))
    seen = await played.until_idle(interrupt())
    assert types_of(seen)[-4:] == ["user.interrupt", *END]
    assert seen[-1].stop_reason.type == "end_turn"


async def test_while_a_retry_is_awaited_the_turn_ends(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    error = {"status": 529, "type": "overloaded_error", "retry_after": 20}
    async with played.watch() as watch:
        await played.send(scripted({"error": error, "text": "never"}))
        await watch.until("session.status_rescheduled")
        assert (await played.retrieve()).status == "rescheduling"
        await played.send(interrupt())
        idle = await watch.until("session.status_idle", deadline_s=15)
    assert idle.stop_reason.type == "end_turn"
    await played.events()


async def test_on_an_idle_session_nothing_starts(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(message("hello"))
    before = await played.types()
    async with played.watch() as watch:
        await played.send(interrupt())
        await played.send(message("again"))
        await watch.until("session.status_idle")
    after = (await played.types())[len(before) :]
    assert after.count("session.status_running") == 1
    assert after.count("user.message") == 1


async def test_a_message_sent_with_the_interrupt_starts_the_next_turn(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({"text": "never", "gate": gate}))
        await model.waiting(gate)
        await played.send(interrupt(), scripted({"text": "instead"}))
        await watch.until("session.status_idle", count=2)
    assert types_of(watch.seen)[3:] == [
        "span.model_request_start", "span.model_request_end", "user.interrupt", *END, *BEGIN, "user.message",
        "span.model_request_start", "agent.message", "span.model_request_end", *END,
    ]  # fmt: skip
    assert text_of(of_type(watch.seen, "agent.message")[0]) == "instead"
    assert types_of(await played.events()) == types_of(watch.seen)


async def test_a_message_queued_before_the_interrupt_starts_the_next_turn_too(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({"text": "never", "gate": gate}))
        await model.waiting(gate)
        await played.send(scripted({"text": "it was queued"}))
        await played.send(interrupt())
        await watch.until("session.status_idle", count=2)
    assert text_of(of_type(watch.seen, "agent.message")[-1]) == "it was queued"
    await played.events()


async def test_one_sent_together_with_the_message_before_it_lets_the_message_begin_a_turn(
    client: AsyncAnthropic,
) -> None:
    played = await Played.create(client)
    async with played.watch() as watch:
        await watch.settled(*await played.send(scripted({"text": "said"}), interrupt()))
    events = await played.events()
    assert [text_of(event) for event in of_type(events, "agent.message")] == ["said"]
    assert all(event.processed_at is not None for event in events)


async def test_one_for_the_primary_thread_is_one_for_the_session(client: AsyncAnthropic, model: ModelControl) -> None:
    played, gate = await Played.create(client), fresh_name()
    (thread,) = [thread async for thread in client.beta.sessions.threads.list(played.id)]
    async with played.watch() as watch:
        await played.send(scripted({"text": "never", "gate": gate}))
        await model.waiting(gate)
        await played.send({"type": "user.interrupt", "session_thread_id": thread.id})
        await watch.until("session.status_idle")
    assert of_type(watch.seen, "user.interrupt")[0].session_thread_id == thread.id


async def test_many_at_once_end_the_turn_once(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch() as watch:
        await played.send(scripted(bash("sleep 30"), {"text": "never"}))
        await watch.until("agent.tool_use")
        await played.send(*[interrupt() for _ in range(5)])
        await watch.until("session.status_idle")
        assert (await played.retrieve()).status == "idle"
    events = await played.events()
    assert len(of_type(events, "session.status_idle")) == 1
    assert len(of_type(events, "user.interrupt")) == 5
