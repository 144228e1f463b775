"""Live streams: previews, resuming without gaps, many readers, slow readers, heartbeats, the end."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.lib.sessions import AccumulatedEvent, accumulate_managed_agents_event

from tests.support.model_control import ModelControl
from tests.support.playing import Played, bash, fresh_name, message, of_type, scripted, text_of, types_of
from tests.support.raw_api import RawApi, frames

WORDS = " ".join(f"word{number}" for number in range(40))


async def test_previews_build_up_to_the_final_message(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch(event_deltas=["agent.message", "agent.thinking"]) as watch:
        await played.send(scripted({"thinking": "let me see", "text": WORDS}))
        await watch.until("session.status_idle")
    types = types_of(watch.seen)
    deltas = types.count("event_delta")
    assert deltas > 3
    assert types[3:] == [
        "span.model_request_start", "event_start", "event_start", *["event_delta"] * deltas, "agent.thinking",
        "agent.message", "span.model_request_end", "session.thread_status_idle", "session.usage", "session.status_idle",
    ]  # fmt: skip
    snapshot: AccumulatedEvent | None = None
    previews: list[str] = []
    for event in watch.seen[5:]:
        snapshot = accumulate_managed_agents_event(snapshot, event)
        if event.type == "event_delta" and snapshot is not None:
            previews.append(text_of(snapshot))
    (final,) = of_type(watch.seen, "agent.message")
    assert text_of(final) == WORDS
    assert all(WORDS.startswith(preview) for preview in previews)
    assert {event.event_id for event in of_type(watch.seen, "event_delta")} == {final.id}
    starts = [event.event for event in of_type(watch.seen, "event_start")]
    assert [(start.type, start.id) for start in starts] == [
        ("agent.thinking", of_type(watch.seen, "agent.thinking")[0].id), ("agent.message", final.id),
    ]  # fmt: skip
    assert "event_delta" not in await played.types()


async def test_deltas_arrive_while_the_model_still_speaks(client: AsyncAnthropic, model: ModelControl) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch(event_deltas=["agent.message"]) as watch:
        await played.send(scripted({"text": WORDS, "gate": gate, "gate_after": 3}))
        await watch.until("event_delta")
        await model.waiting(gate)
        assert "agent.message" not in types_of(watch.seen)
        await model.open(gate)
        await watch.until("session.status_idle")


async def test_a_reader_that_asks_for_no_previews_gets_none(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({"thinking": "hm", "text": WORDS}))
    assert not {"event_start", "event_delta"} & set(types_of(seen))


async def test_a_stream_opened_in_the_middle_of_a_request_gets_no_deltas_for_it(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch(event_deltas=["agent.message"]) as early:
        await played.send(scripted({"text": WORDS, "gate": gate, "gate_after": 2}))
        await early.until("event_delta")
        async with played.watch(event_deltas=["agent.message"]) as late:
            await model.open(gate)
            await late.until("session.status_idle")
    assert types_of(late.seen)[:2] == ["agent.message", "span.model_request_end"]


async def test_an_interrupted_preview_never_gets_its_final_event(client: AsyncAnthropic, model: ModelControl) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch(event_deltas=["agent.message"]) as watch:
        await played.send(scripted({"text": WORDS, "gate": gate, "gate_after": 2}))
        await watch.until("event_delta")
        await played.send({"type": "user.interrupt"})
        await watch.until("session.status_idle")
    assert "agent.message" not in types_of(watch.seen)
    assert "span.model_request_end" in types_of(watch.seen)


async def test_two_readers_see_the_same(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch() as one, played.watch() as two:
        await played.send(scripted(bash("echo hi"), {"text": "done"}))
        await one.until("session.status_idle")
        await two.until("session.status_idle")
    assert [event.to_dict() for event in one.seen] == [event.to_dict() for event in two.seen]


async def test_the_primary_threads_stream_shows_what_the_sessions_stream_shows(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    (thread,) = [thread async for thread in client.beta.sessions.threads.list(played.id)]
    async with played.watch() as watch:
        async with await client.beta.sessions.threads.events.stream(thread.id, session_id=played.id) as stream:
            await played.send(message("hello"))
            seen = []
            async with asyncio.timeout(60):
                async for event in stream:
                    seen.append(event)
                    if event.type == "session.status_idle":
                        break
        await watch.until("session.status_idle")
    assert types_of(seen) == types_of(watch.seen)


async def read_until_idle(raw: RawApi, session_id: str, last_id: str) -> list[tuple[str, Any]]:
    found = []
    async with raw.stream(session_id, headers={"Last-Event-ID": last_id}) as response, asyncio.timeout(60):
        assert response.status == 200
        async with aclosing(frames(response)) as read:
            async for frame in read:
                if frame.data is not None:
                    found.append((frame.id or "", frame.data))
                    if frame.data["type"] == "session.status_idle":
                        break
    return found


async def test_every_place_of_a_stream_can_be_resumed_from_without_a_gap(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    whole: list[tuple[str, Any]] = []
    async with raw.stream(played.id) as response, asyncio.timeout(60):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        await played.send(scripted(bash("echo hi"), {"text": "done"}))
        async for frame in frames(response):
            if frame.data is not None:
                assert frame.event == "message"
                whole.append((frame.id or "", frame.data))
                if frame.data["type"] == "session.status_idle":
                    break
    assert len({place for place, _ in whole}) == len(whole)
    assert [data["id"] for _, data in whole] == [event.id for event in await played.events()]
    for index in range(len(whole) - 1):
        assert await read_until_idle(raw, played.id, whole[index][0]) == whole[index + 1 :]


async def test_what_happens_between_two_connections_is_not_lost(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    async with raw.stream(played.id) as response, asyncio.timeout(60):
        await played.send(message("one"))
        first = await anext(frames(response))
    await played.until_idle(message("two"))
    resumed = await read_until_idle(raw, played.id, first.id or "")
    assert resumed[0][1]["id"] == (await played.events())[1].id


async def test_a_resume_id_that_is_not_ours_is_refused(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    async with raw.stream(played.id, headers={"Last-Event-ID": "nonsense"}) as response:
        assert response.status == 400
        assert "Last-Event-ID" in (await response.json())["error"]["message"]


async def test_readers_that_vanish_or_never_read_hurt_nobody(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    # Far more than the buffers between the server and a reader hold; no model is asked for these.
    notes = [{"type": "system.message", "content": [{"type": "text", "text": "x" * 1_000_000}]} for _ in range(24)]
    async with raw.stream(played.id, read_bytes=1024) as slow, raw.stream(played.id) as gone:
        gone.close()
        async with played.watch() as watch:
            for note in notes:
                await played.send(note)
            await watch.until("system.message", count=len(notes))
            await played.send(scripted({"text": "x", "usage": {"input_tokens": 10}}))
            await watch.until("session.status_idle")
        seen = watch.seen
        # The slow one has read next to nothing until now, and still gets everything.
        late = []
        async with asyncio.timeout(60), aclosing(frames(slow)) as read:
            async for frame in read:
                if frame.data is not None:
                    late.append(frame.data["id"])
                    if frame.data["type"] == "session.status_idle":
                        break
    assert late == [event.id for event in seen]


async def test_a_silent_stream_is_never_silent_for_longer_than_ten_seconds(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    loop = asyncio.get_running_loop()
    async with raw.stream(played.id) as response, asyncio.timeout(60), aclosing(frames(response)) as read:
        for _ in range(4):  # one silence that was short enough will do: a machine that stalls is no fault of the server
            silent_since = loop.time()
            frame = await anext(read)
            assert (frame.data, frame.comment) == (None, "heartbeat")
            if loop.time() - silent_since < 10:
                return
    pytest.fail("each heartbeat came after more than ten seconds")


async def test_a_deleted_session_ends_every_stream_with_one_last_event(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    async with played.watch() as one, played.watch() as two:
        await client.beta.sessions.delete(played.id)
        await one.until_end()
        await two.until_end()
    assert types_of(one.seen) == types_of(two.seen) == ["session.deleted"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?event_deltas[]=agent.tool_use", "event_deltas"),
        ("?" + "&".join(["event_deltas[]=agent.message"] * 101), "event_deltas"),
    ],
    ids=["unknown type", "too many"],
)
async def test_previews_that_do_not_exist_are_refused(
    client: AsyncAnthropic, raw: RawApi, query: str, words: str
) -> None:
    played = await Played.create(client)
    async with raw.stream(played.id, query=query) as response:
        body = await response.json()
    assert (response.status, body["error"]["type"]) == (400, "invalid_request_error")
    assert words in body["error"]["message"]
