"""Sending events: all of them or none, and every refusal names its place."""

import asyncio
from pathlib import Path
from typing import Any

from efferent.common.domain.events import AgentCustomToolUse, AgentToolUse, SessionStatusIdle
from efferent.common.domain.events.agent import EvaluatedAlwaysAsk
from efferent.common.domain.events.stop import RequiresAction
from efferent.common.domain.ids import EventId, SessionId
from services.gateway.tests.session_api import Api, api, message


async def post(made: Api, session_id: str, *events: object, **headers: str) -> Any:
    return await made.call("POST", f"/v1/sessions/{session_id}/events", {"events": list(events)}, **headers)


async def hold_call(made: Api, session_id: str, *, custom: bool = False) -> EventId:
    """Let the brain ask for a call that the client has to settle; returns its id."""
    brain = made.brain(session_id)
    await made.send(session_id, "go")
    await brain.start_turn()
    if custom:
        (call,) = await brain.append(
            [lambda id, at: AgentCustomToolUse(id=id, name="lookup", input={}, processed_at=at)]
        )
    else:
        (call,) = await brain.append(
            [
                lambda id, at: AgentToolUse(
                    id=id,
                    name="bash",
                    input={"command": "true"},
                    evaluated_permission="ask",
                    evaluation=EvaluatedAlwaysAsk(),
                    processed_at=at,
                )
            ]
        )
    reason = RequiresAction(event_ids=(call,))
    await brain.append([lambda id, at: SessionStatusIdle(id=id, stop_reason=reason, processed_at=at)])
    return call


async def test_a_message_is_echoed_with_an_id_and_without_a_time(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        sent = await made.client.beta.sessions.events.send(
            session["id"], events=[{"type": "user.message", "content": [{"type": "text", "text": "hello"}]}]
        )
        assert sent.data is not None
        (echo,) = sent.data
        assert echo.id.startswith("sevt_")
        assert echo.type == "user.message"
        assert echo.processed_at is None
        assert (await made.call("GET", f"/v1/sessions/{session['id']}")).body["status"] == "running"


async def test_messages_sent_at_once_are_all_taken_in_in_order(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        echoes = await asyncio.gather(*(made.send(session["id"], f"{index}") for index in range(20)))
        await made.brain(session["id"]).answer("all read")
        listed = await made.call("GET", f"/v1/sessions/{session['id']}/events?types[]=user.message")
        assert {event["id"] for event in listed.body["data"]} == {echo["id"] for (echo,) in echoes}


REFUSED: list[tuple[list[object], str]] = [
    ([], "events: must have at least 1 entry"),
    ([message("a"), {"type": "tool_confirmation"}], 'events[1].type: "tool_confirmation" is not a valid value'),
    ([{"type": "agent.message", "content": []}], 'events[0].type: "agent.message" is not a valid value'),
    ([{"content": []}], "events[0].type: field is required"),
    ([message("a"), {"type": "user.message"}], "events[1].content: field is required"),
    ([{"type": "user.message", "content": []}], "events[0].content: must have at least 1 entry"),
    ([{"type": "user.message", "content": "text"}], "events[0].content: must be a list"),
    ([{"type": "user.message", "content": [{"type": "txt"}]}], 'events[0].content[0].type: "txt" is not a valid'),
    ([{"type": "user.message", "content": [{"type": "text", "text": 5}]}], "events[0].content[0].text: must be a"),
    ([{**message("a"), "more": 1}], "events[0].more: unknown field"),
    (
        [{"type": "user.message", "content": [{"type": "text", "text": "a", "more": 1}]}],
        "events[0].content[0].more: unknown field",
    ),
    (
        [{"type": "user.message", "content": [{"type": "image", "source": {"type": "url", "url": "x", "more": 1}}]}],
        "events[0].content[0].source.more: unknown field",
    ),
    ([{"type": "user.message", "content": [{"type": "redacted"}]}], "events[0].content[0]: redacted content"),
    (
        [
            {
                "type": "user.message",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "a/b", "data": ""}}],
            }
        ],
        'events[0].content[0].source.media_type: "a/b" is not a valid value',
    ),
    (
        [
            {
                "type": "user.message",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}],
            }
        ],
        "events[0].content[0].source.data: not valid base64",
    ),
    (
        [{"type": "user.message", "content": [{"type": "image", "source": {"type": "url", "url": "file:///x"}}]}],
        "events[0].content[0].source.url: must be an http or https URL",
    ),
    (
        [{"type": "user.message", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}],
        "events[0].content[0].source.file_id: Invalid file ID.",
    ),
    (
        [{"type": "user.tool_confirmation", "tool_use_id": "sevt_x", "result": "maybe"}],
        'events[0].result: "maybe" is not a valid value',
    ),
    (
        [{"type": "user.tool_confirmation", "tool_use_id": "x", "result": "allow", "deny_message": "no"}],
        'events[0].deny_message: only allowed when result is "deny"',
    ),
    (
        [{"type": "user.tool_confirmation", "tool_use_id": "sevt_x", "result": "allow"}],
        "Invalid user.tool_confirmation event at events[0]",
    ),
    (
        [message("a"), {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_x"}],
        "Invalid user.custom_tool_result event at events[1]",
    ),
    ([{"type": "user.tool_result", "tool_use_id": "sevt_x"}], "Invalid user.tool_result event at events[0]"),
    (
        [
            {
                "type": "user.define_outcome",
                "description": "d",
                "rubric": {"type": "text", "content": "r"},
            }
        ],
        "events[0]: user.define_outcome is not available in this release",
    ),
    (
        [{"type": "system.message", "content": [{"type": "text", "text": "s"}]}, message("a")],
        "events[0]: a system.message must be the last event",
    ),
]


async def test_a_refused_request_names_the_place_and_records_nothing(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        for events, said in REFUSED:
            session = await made.session()
            before = await made.log.last_sequence(SessionId(session["id"]))
            answer = await post(made, session["id"], *events)
            assert (answer.status, answer.body["error"]["type"]) == (400, "invalid_request_error")
            assert said in answer.message
            assert await made.log.last_sequence(SessionId(session["id"])) == before


async def test_a_thousand_events_are_taken_and_one_more_is_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        refused = await post(made, session["id"], *[message("x")] * 1_001)
        assert (refused.status, refused.message) == (
            400,
            "Failed to parse request: events: must have at most 1000 entries",
        )
        taken = await post(made, session["id"], *[message("x")] * 1_000)
        assert len(taken.body["data"]) == 1_000


async def test_broken_json_is_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        url = f"{made.url}/v1/sessions/{session['id']}/events"
        async with made.http.post(url, data=b'{"events": [', headers=made.headers()) as response:
            assert response.status == 400
            assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_message_while_calls_wait_is_refused_with_their_ids(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        call = await hold_call(made, session["id"])
        answer = await post(made, session["id"], message("hurry"))
        assert answer.status == 400
        assert f"Invalid user.message event at events[0]: waiting on responses to events [{call}]" in answer.message


async def test_a_confirmation_is_queued_and_the_same_again_gives_the_same_event(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        call = await hold_call(made, session["id"])
        confirmation = {"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}
        first = await post(made, session["id"], {**confirmation, "session_thread_id": "sthr_ignored"})
        again = await post(made, session["id"], confirmation)
        assert first.status == again.status == 200
        assert first.body["data"][0]["processed_at"] is None
        assert first.body["data"][0]["session_thread_id"] is None
        assert again.body["data"][0]["id"] == first.body["data"][0]["id"]
        other = await post(made, session["id"], {**confirmation, "result": "deny"})
        assert (other.status, "already answered with other content" in other.message) == (400, True)


async def test_a_custom_tool_result_is_processed_on_receipt_and_public_at_once(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        call = await hold_call(made, session["id"], custom=True)
        result = {
            "type": "user.custom_tool_result",
            "custom_tool_use_id": call,
            "content": [{"type": "text", "text": "42"}],
        }
        answer = await post(made, session["id"], result)
        (echo,) = answer.body["data"]
        assert echo["processed_at"] is not None
        listed = await made.call("GET", f"/v1/sessions/{session['id']}/events?order=desc&limit=1")
        assert listed.body["data"] == [echo]


async def test_an_idempotency_key_gives_the_first_answer_again(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        first = await post(made, session["id"], message("once"), Idempotency_Key="k1")
        await made.brain(session["id"]).answer("done")
        again = await post(made, session["id"], message("once"), Idempotency_Key="k1")
        other = await post(made, session["id"], message("once"), Idempotency_Key="k2")
        assert again.body == first.body
        assert other.body["data"][0]["id"] != first.body["data"][0]["id"]
        refused = await post(made, session["id"], message("x"), Idempotency_Key="k" * 256)
        assert (refused.status, "Idempotency-Key" in refused.message) == (400, True)


async def test_an_archived_session_takes_nothing(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        await made.call("POST", f"/v1/sessions/{session['id']}/archive")
        answer = await post(made, session["id"], message("x"))
        assert (answer.status, answer.message) == (400, f"session {session['id']} is archived")


async def test_an_interrupt_of_an_unknown_thread_is_not_found(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        answer = await post(made, session["id"], {"type": "user.interrupt", "session_thread_id": "sthr_x"})
        assert (answer.status, answer.body["error"]["type"]) == (404, "not_found_error")
        fine = await post(made, session["id"], {"type": "user.interrupt"})
        assert fine.body["data"][0]["type"] == "user.interrupt"


WRONG_SESSIONS: list[tuple[str, int, str]] = [
    ("nonsense", 400, "Invalid session ID."),
    ("sesn_.x", 400, "Invalid session ID."),
    ("sesn_unknown", 404, "Session not found."),
    ("session_unknown", 404, "Session not found."),
]


async def test_malformed_and_unknown_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        for session_id, status, said in WRONG_SESSIONS:
            answer = await post(made, session_id, message("x"))
            assert (answer.status, answer.message) == (status, said)


async def test_the_other_prefix_and_another_workspace(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        alternate = session["id"].replace("sesn_", "session_")
        assert (await post(made, alternate, message("x"))).status == 200
        path = f"/v1/sessions/{session['id']}/events"
        foreign = await made.call("POST", path, {"events": [message("x")]}, key=made.other_key)
        assert (foreign.status, foreign.message) == (404, "Session not found.")
