"""The recorded orders of events, each exactly: what the stream shows is what the list holds."""

from typing import Any, Final

from anthropic import AsyncAnthropic

from tests.support.efferent_server import EfferentServer
from tests.support.model_control import ModelControl
from tests.support.playing import (
    Played,
    bash,
    confirmation,
    custom_result,
    custom_tool,
    fresh_name,
    message,
    of_type,
    script,
    scripted,
    text_of,
    toolset,
    types_of,
)
from tests.support.self_hosting import until

HELD: Final = "touch begun; until [ -e go ]; do sleep 0.02; done"
"""A command that a test lets end."""
BEGIN: Final = ["session.status_running", "session.thread_status_running"]
END: Final = ["session.thread_status_idle", "session.usage", "session.status_idle"]
ANSWER: Final = ["span.model_request_start", "agent.message", "span.model_request_end"]
CALL: Final = ["span.model_request_start", "agent.tool_use", "span.model_request_end"]


async def release(server: EfferentServer, played: Played) -> None:
    """Let the session's command ``HELD`` end, once it has begun."""
    workspace = server.data_dir / "hands" / "sessions" / played.id / "workspace"
    await until((workspace / "begun").exists)
    (workspace / "go").touch()


async def same_in_list(played: Played, seen: list[Any]) -> list[str]:
    """Check that the list ends with what the stream showed, id by id and time by time; the types of it."""
    listed = (await played.events())[-len(seen) :]
    assert [event.to_dict() for event in listed] == [event.to_dict() for event in seen]
    return types_of(seen)


async def test_a_text_turn_with_thinking(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"thinking": "let me see", "text": "done"}))
    assert await same_in_list(played, seen) == [
        *BEGIN, "user.message", "span.model_request_start", "agent.thinking", "agent.message", "span.model_request_end",
        *END,
    ]  # fmt: skip
    assert seen[-1].stop_reason.type == "end_turn"
    assert seen[-1].stop_details is None


async def test_a_tool_that_is_always_allowed(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    step = {"thinking": "a file", "text": "I look", **bash("echo hi")}
    seen = await played.until_idle(scripted(step, {"text": "done"}))
    assert await same_in_list(played, seen) == [
        *BEGIN, "user.message", "span.model_request_start", "agent.thinking", "agent.message", "agent.tool_use",
        "span.model_request_end", "agent.tool_result", *ANSWER, *END,
    ]  # fmt: skip
    (use,), (result,) = of_type(seen, "agent.tool_use"), of_type(seen, "agent.tool_result")
    assert (use.name, use.input, use.evaluated_permission) == ("bash", {"command": "echo hi"}, "allow")
    assert use.evaluation.type == "always_allow"
    assert (use.session_thread_id, result.tool_use_id, result.is_error) == (None, use.id, False)
    assert text_of(result).strip() == "hi"


async def test_tools_run_in_parallel_and_answer_in_the_order_of_completion(
    client: AsyncAnthropic, server: EfferentServer
) -> None:
    played = await Played.create(client)
    writes = {"tool": "write", "input": {"file_path": "/workspace/second", "content": "x"}}
    async with played.watch() as watch:
        await played.send(scripted({"tools": [bash(f"{HELD}; echo first"), writes]}, {"text": "done"}))
        await watch.until("agent.tool_result")
        await release(server, played)
        await watch.until("session.status_idle")
    seen = watch.seen
    assert await same_in_list(played, seen) == [
        *BEGIN, "user.message", "span.model_request_start", "agent.tool_use", "agent.tool_use",
        "span.model_request_end", "agent.tool_result", "agent.tool_result", *ANSWER, *END,
    ]  # fmt: skip
    uses, results = of_type(seen, "agent.tool_use"), of_type(seen, "agent.tool_result")
    assert [result.tool_use_id for result in results] == [uses[1].id, uses[0].id]


async def test_a_steered_message_joins_the_running_turn(
    client: AsyncAnthropic, model: ModelControl, server: EfferentServer
) -> None:
    played = await Played.create(client)
    word = fresh_name("steered")
    async with played.watch() as watch:
        await played.send(scripted(bash(f"{HELD}; echo slow"), {"text": "old plan"}))
        await watch.until("agent.tool_use")
        await played.send(scripted({"text": "both"}, say=word))
        await release(server, played)
        await watch.until("session.status_idle")
    assert await same_in_list(played, watch.seen) == [
        *BEGIN, "user.message", *CALL, "agent.tool_result", "user.message", *ANSWER, *END,
    ]  # fmt: skip
    (request,) = await model.requests(word)
    assert [block["type"] for block in request["body"]["messages"][-1]["content"]] == ["tool_result", "text"]


async def test_a_message_sent_while_the_model_answers_starts_another_request(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({"text": "first", "gate": gate}))
        await model.waiting(gate)
        await played.send(message("and this"))
        await model.open(gate)
        await watch.until("session.status_idle")
    assert await same_in_list(played, watch.seen) == [*BEGIN, "user.message", *ANSWER, "user.message", *ANSWER, *END]


async def test_messages_within_ten_milliseconds_are_all_taken_in_in_order(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch() as watch:
        sent = [(await played.send(message(f"number {number}")))[0] for number in range(3)]
        await watch.settled(*sent)
    events = await played.events()
    assert [event.id for event in of_type(events, "user.message")] == [echo.id for echo in sent]
    assert all(event.processed_at is not None for event in events)


async def test_an_asked_tool_that_is_allowed(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    seen = await played.until_idle(scripted(bash("echo yes"), {"text": "done"}))
    assert await same_in_list(played, seen) == [*BEGIN, "user.message", *CALL, *END]
    (use,) = of_type(seen, "agent.tool_use")
    assert (use.evaluated_permission, use.evaluation.type) == ("ask", "always_ask")
    assert seen[-1].stop_reason.type == "requires_action"
    assert seen[-1].stop_reason.event_ids == [use.id]
    resumed = await played.until_idle(confirmation(use.id))
    assert await same_in_list(played, resumed) == [
        "user.tool_confirmation", *BEGIN, "agent.tool_result", *ANSWER, *END,
    ]  # fmt: skip
    first = resumed[0].to_dict()
    assert (first["result"], first["deny_message"], first["session_thread_id"]) == ("allow", None, None)
    assert text_of(resumed[3]).strip() == "yes"


async def test_an_asked_tool_that_is_denied_never_runs(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    text = script(bash("touch /workspace/ran"), {"tool": "glob", "input": {"pattern": "ran"}}, {"text": "done"})
    seen = await played.until_idle(message(text))
    (use,) = of_type(seen, "agent.tool_use")
    resumed = await played.until_idle(confirmation(use.id, "deny", deny_message="not today"))
    assert await same_in_list(played, resumed) == [
        "user.tool_confirmation", *BEGIN, "agent.tool_result", *CALL, *END,
    ]  # fmt: skip
    result = resumed[3]
    assert result.is_error
    assert text_of(result) == "Permission to use bash has been rejected. Rejection message: not today"
    looked = await played.until_idle(confirmation(of_type(resumed, "agent.tool_use")[0].id))
    assert text_of(of_type(looked, "agent.tool_result")[0]) == "No files found"


async def test_a_partial_confirmation_says_again_what_is_still_wanted(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    calls = [bash("echo one"), bash("echo two")]
    seen = await played.until_idle(scripted({"tools": calls}, {"text": "done"}))
    first, second = of_type(seen, "agent.tool_use")
    assert seen[-1].stop_reason.event_ids == [first.id, second.id]
    half = await played.until_idle(confirmation(second.id))
    assert types_of(half) == ["user.tool_confirmation", *END]
    assert half[-1].stop_reason.event_ids == [first.id]
    resumed = await played.until_idle(confirmation(first.id, "deny"))
    assert types_of(resumed) == [
        "user.tool_confirmation", *BEGIN, "agent.tool_result", "agent.tool_result", *ANSWER, *END,
    ]  # fmt: skip
    await played.events()


async def test_several_confirmations_may_come_in_one_request(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    seen = await played.until_idle(scripted({"tools": [bash("echo one"), bash("echo two")]}, {"text": "done"}))
    first, second = of_type(seen, "agent.tool_use")
    resumed = await played.until_idle(confirmation(first.id), confirmation(second.id))
    assert types_of(resumed)[:4] == ["user.tool_confirmation", "user.tool_confirmation", *BEGIN]
    assert resumed[-1].stop_reason.type == "end_turn"
    await played.events()


async def test_a_custom_tool_is_answered_by_the_client(client: AsyncAnthropic, model: ModelControl) -> None:
    played = await Played.create(client, tools=[custom_tool()])
    word = fresh_name("custom")
    seen = await played.until_idle(
        scripted({"text": "I ask", "tool": "look_up", "input": {"key": "a"}}, {"text": "x"}, say=word)
    )
    assert await same_in_list(played, seen) == [
        *BEGIN, "user.message", "span.model_request_start", "agent.message", "agent.custom_tool_use",
        "span.model_request_end", *END,
    ]  # fmt: skip
    (use,) = of_type(seen, "agent.custom_tool_use")
    assert (use.name, use.input) == ("look_up", {"key": "a"})
    assert seen[-1].stop_reason.event_ids == [use.id]
    async with played.watch() as watch:
        (echo,) = await played.send(custom_result(use.id, "found it"))
        assert echo.processed_at is not None
        await watch.until("session.status_idle")
    assert await same_in_list(played, watch.seen) == ["user.custom_tool_result", *BEGIN, *ANSWER, *END]
    last = (await model.requests(word))[-1]["body"]["messages"][-1]["content"]
    assert last[0]["type"] == "tool_result"
    assert last[0]["content"][0]["text"] == "found it"


async def test_a_custom_result_that_comes_while_a_tool_runs_needs_no_idle(
    client: AsyncAnthropic, server: EfferentServer
) -> None:
    played = await Played.create(client, tools=[toolset(), custom_tool()])
    look_up = {"tool": "look_up", "input": {"key": "a"}}
    async with played.watch() as watch:
        await played.send(scripted({"tools": [bash(f"{HELD}; echo hi"), look_up]}, {"text": "done"}))
        use = await watch.until("agent.custom_tool_use")
        await played.send(custom_result(use.id, "found"))
        await release(server, played)
        await watch.until("session.status_idle")
    assert await same_in_list(played, watch.seen) == [
        *BEGIN, "user.message", "span.model_request_start", "agent.tool_use", "agent.custom_tool_use",
        "span.model_request_end", "user.custom_tool_result", "agent.tool_result", *ANSWER, *END,
    ]  # fmt: skip


async def test_a_call_that_asks_lets_the_others_run_and_what_was_said_meanwhile_waits(
    client: AsyncAnthropic, model: ModelControl, server: EfferentServer
) -> None:
    asked = {"name": "write", "permission_policy": {"type": "always_ask"}}
    played, word = await Played.create(client, tools=[toolset(configs=[asked])]), fresh_name("meanwhile")
    write = {"tool": "write", "input": {"file_path": "/workspace/a", "content": "a"}}
    async with played.watch() as watch:
        await played.send(scripted({"tools": [bash(f"{HELD}; echo hi"), write]}, {"text": "done"}))
        await watch.until("agent.tool_use", count=2)
        await played.send(scripted({"text": "both"}, say=word))
        await release(server, played)
        idle = await watch.until("session.status_idle")
    uses = of_type(watch.seen, "agent.tool_use")
    assert [use.evaluated_permission for use in uses] == ["allow", "ask"]
    assert idle.stop_reason.event_ids == [uses[1].id]
    assert [event.processed_at is None for event in of_type(await played.events(), "user.message")] == [False, True]
    resumed = await played.until_idle(confirmation(uses[1].id))
    assert types_of(resumed) == [
        "user.tool_confirmation", *BEGIN, "agent.tool_result", "user.message", *ANSWER, *END,
    ]  # fmt: skip
    assert len(await model.requests(word)) == 1
    await played.events()


async def test_archiving_an_idle_session_terminates_it(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(message("hello"))
    async with played.watch() as watch:
        archived = await client.beta.sessions.archive(played.id)
        await watch.until("session.status_terminated")
    assert types_of(watch.seen) == ["session.thread_status_terminated", "session.status_terminated"]
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    assert (await played.types())[-2:] == types_of(watch.seen)
    again = await client.beta.sessions.archive(played.id)
    assert again.archived_at == archived.archived_at


async def test_a_session_that_waits_for_the_client_can_be_archived(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    await played.until_idle(scripted(bash("echo"), {"text": "x"}))
    assert (await client.beta.sessions.archive(played.id)).status == "terminated"


async def test_deleting_a_session_ends_its_streams(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(message("hello"))
    async with played.watch() as watch:
        gone = await client.beta.sessions.delete(played.id)
        await watch.until_end()
    assert types_of(watch.seen) == ["session.deleted"]
    assert (gone.id, gone.type) == (played.id, "session_deleted")
