"""SSE over HTTP: headers, frames, resume, drain; and the official client reading them."""

import asyncio
import logging
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from efferent.common.domain.ids import EventId, SessionId
from efferent.common.jetstream import subjects
from efferent.gateway.streams import sse
from services.gateway.tests.session_api import Api, api
from services.gateway.tests.session_rig import WAIT_S, frames_of
from services.gateway.tests.test_streams_live import TURN, delta_of, start_of


async def test_stream_headers_tell_proxies_not_to_buffer(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            headers = stream.response.headers
            assert headers["Content-Type"].startswith("text/event-stream")
            assert headers["Cache-Control"] == "no-cache"
            assert headers["X-Accel-Buffering"] == "no"
            assert headers["request-id"].startswith("req_")
            assert headers["anthropic-workspace-id"]


async def test_everything_committed_after_the_headers_arrives_as_message_frames_with_ids(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            await made.send(session["id"], "hello")
            await made.brain(session["id"]).answer("hi")
            frames = [await stream.frame() for _ in TURN]
            assert {frame["event"] for frame in frames} == {"message"}
            assert [orjson.loads(frame["data"])["type"] for frame in frames] == TURN
            positions = [tuple(int(part) for part in frame["id"].split("-")) for frame in frames]
            assert positions == sorted(set(positions))


async def test_what_was_committed_before_is_not_replayed(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        await made.send(session["id"], "hello")
        brain = made.brain(session["id"])
        await brain.answer("first")
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            await made.send(session["id"], "again")
            await brain.answer("second")
            events = await stream.events(len(TURN))
            assert [event["content"][0]["text"] for event in events if event["type"] == "agent.message"] == ["second"]


@pytest.mark.parametrize("cut", [0, 3, 8])
async def test_last_event_id_resumes_without_gap_or_repeat(tmp_path: Path, cut: int) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}/events/stream"
        async with made.stream(path) as stream:
            await made.send(session["id"], "hello")
            brain = made.brain(session["id"])
            await brain.answer("hi")
            frames = [await stream.frame() for _ in TURN]
        await made.send(session["id"], "more")
        async with made.stream(path, Last_Event_ID=frames[cut]["id"]) as stream:
            await brain.answer("live again")
            rest = [await stream.frame() for _ in range(len(TURN) * 2 - cut - 1)]
        types = [orjson.loads(frame["data"])["type"] for frame in (*frames[: cut + 1], *rest)]
        assert types == TURN * 2


async def test_a_last_event_id_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        for text in ["nonsense", "1", "-", "1-", "-1", "1-2-3", "1" * 50 + "-0", "999999-0", "\u0661-\u0662"]:
            answer = await made.call("GET", f"/v1/sessions/{session['id']}/events/stream", Last_Event_ID=text)
            assert (answer.status, answer.body["error"]["type"]) == (400, "invalid_request_error")
            assert "Last-Event-ID" in answer.message


async def test_the_official_client_reads_a_turn_and_stays_open_across_idle(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        brain = made.brain(session["id"])
        async with asyncio.timeout(WAIT_S), await made.client.beta.sessions.events.stream(session["id"]) as stream:
            seen = []
            await made.send(session["id"], "one")
            await brain.answer("first")
            async for event in stream:
                seen.append(event.type)
                if seen.count("session.status_idle") == 1 and len(seen) == len(TURN):
                    await made.send(session["id"], "two")
                    await brain.answer("second")
                if len(seen) == 2 * len(TURN):
                    break
        assert seen == TURN * 2


async def test_previews_reach_the_official_client(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        brain = made.brain(session["id"])
        stream_of = made.client.beta.sessions.events.stream
        async with (
            asyncio.timeout(WAIT_S),
            await stream_of(session["id"], event_deltas=["agent.message"]) as stream,
        ):
            await made.send(session["id"], "one")
            span = await brain.start_turn()
            await preview(made, session["id"], brain.sequence, start_of("sevt_coming"))
            await preview(made, session["id"], brain.sequence, delta_of("sevt_coming", "first"))
            seen = []
            async for event in stream:
                seen.append(event.type)
                if event.type == "event_delta":
                    await brain.end_turn(span, "first", message_id=EventId("sevt_coming"))
                if event.type == "session.status_idle":
                    break
        assert seen == [*TURN[:4], "event_start", "event_delta", *TURN[4:]]


async def preview(made: Api, session_id: str, after: int, event: dict[str, object]) -> None:
    """Publish a token delta."""
    body = orjson.dumps({"after": after, "thread": None, "event": event})
    await made.connection.publish(subjects.delta(SessionId(session_id)), body)
    await made.connection.flush(WAIT_S)


async def test_a_type_that_has_no_previews_is_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        for name in ["event_deltas[]", "event_deltas", "event_deltas%5B%5D"]:
            path = f"/v1/sessions/{session['id']}/events/stream?{name}=agent.message&{name}=agent.tool_use"
            answer = await made.call("GET", path)
            assert answer.status == 400
            assert answer.message.startswith('event_deltas[1]: "agent.tool_use" is not a valid value')


async def test_at_most_a_hundred_preview_values(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}/events/stream?"
        values = "&".join(["event_deltas[]=agent.message"] * sse.PREVIEW_VALUES_MAX)
        async with made.stream(path + values):
            pass
        answer = await made.call("GET", f"{path}{values}&event_deltas[]=agent.message")
        assert (answer.status, "event_deltas" in answer.message) == (400, True)


async def test_deleting_a_session_ends_its_streams_with_the_last_event(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            answer = await made.call("DELETE", f"/v1/sessions/{session['id']}")
            assert answer.body == {"id": session["id"], "type": "session_deleted"}
            assert [event["type"] for event in await stream.events(1)] == ["session.deleted"]
            assert await stream.frame() == {}


async def test_an_archived_session_tells_its_end_and_keeps_the_stream_open(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            await made.call("POST", f"/v1/sessions/{session['id']}/archive")
            assert [event["type"] for event in await stream.events(2)] == [
                "session.thread_status_terminated",
                "session.status_terminated",
            ]
            assert not stream.response.content.at_eof()


async def test_a_silent_stream_has_heartbeats_within_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sse.HEARTBEAT_S < 10
    monkeypatch.setattr(sse.stream, "__kwdefaults__", {"heartbeat_s": 0.01})
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream, asyncio.timeout(WAIT_S):
            assert await stream.response.content.readline() == b": heartbeat\n"
            assert await stream.response.content.readline() == b"\n"


async def test_drain_ends_streams_cleanly(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream") as stream:
            draining = asyncio.create_task(made.gateway.drain())
            assert await stream.frame() == {}
            assert stream.response.content.exception() is None
            await draining


async def test_a_client_that_takes_nothing_hurts_no_other_reader(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}/events/stream"
        connector = aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector, read_bufsize=1024) as other:
            stuck = await other.get(made.url + path, headers=made.headers())
            brain = made.brain(session["id"])
            async with made.stream(path) as stream:
                # More than the mailbox and the sockets of the reader that is stuck can hold.
                for _ in range(8):
                    await made.send(session["id"], "again")
                    await brain.answer("x" * 500_000)
                    assert [event["type"] for event in await stream.events(len(TURN))] == TURN
            # And when it reads after all, nothing is missing.
            data = b""
            async with asyncio.timeout(WAIT_S):
                while len(frames_of(data[: data.rfind(b"\n\n")])) < 8 * len(TURN):
                    data += await stuck.content.readany()
            assert [event["type"] for event in frames_of(data)] == TURN * 8
            stuck.close()


async def test_a_client_that_takes_nothing_for_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STALL_S", 0.05)
    async with api(tmp_path) as made:
        session = await made.session()
        session_id = SessionId(session["id"])
        async with aiohttp.ClientSession(read_bufsize=1024) as other:
            stuck = await other.get(f"{made.url}/v1/sessions/{session_id}/events/stream", headers=made.headers())
            brain = made.brain(session_id)
            async with asyncio.timeout(WAIT_S):
                while made.services.hub.is_watched(session_id):
                    await made.send(session_id, "again")
                    await brain.answer("x" * 1_000_000)
            stuck.close()


async def test_streams_of_unknown_and_foreign_sessions_are_not_found(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        unknown = await made.call("GET", "/v1/sessions/sesn_unknown/events/stream")
        foreign = await made.call("GET", f"/v1/sessions/{session['id']}/events/stream", key=made.other_key)
        assert [(answer.status, answer.message) for answer in (unknown, foreign)] == [(404, "Session not found.")] * 2


async def test_a_client_that_left_before_the_headers_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lose(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()  # as when the client's reset comes in

    async with api(tmp_path) as made:
        session = await made.session()
        monkeypatch.setattr(sse, "resume_position", lose)
        with pytest.raises(aiohttp.ClientError):
            await made.call("GET", f"/v1/sessions/{session['id']}/events/stream")
        assert (await made.call("GET", f"/v1/sessions/{session['id']}")).status == 200
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
