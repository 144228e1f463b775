"""Live readers: everything committed, once, in order, whatever a reader does."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from efferent.common.domain.events import AgentMessage
from efferent.common.domain.ids import EventId, SessionId, ThreadId
from efferent.gateway.sessions.public_events import Position, PublicEvent
from efferent.gateway.streams.live import LiveHub, TooManyReaders
from efferent.gateway.streams.live_reader import HEARTBEAT, Reader
from services.gateway.tests.session_rig import WAIT_S, Rig, frames_of, message, read_until, retitled, rig

TURN = [
    "session.status_running",
    "session.thread_status_running",
    "user.message",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
]


async def opened(made: Rig, session_id: SessionId, hub: LiveHub | None = None) -> Reader:
    """A reader of what comes from now on."""
    reader = await (hub or made.services.hub).open(session_id, None, frozenset())
    reader.start_after(await made.log.last_sequence(session_id))
    return reader


def titles(events: list[dict[str, object]]) -> list[object]:
    return [event["title"] for event in events if event["type"] == "session.updated"]


async def retitle(made: Rig, session_id: SessionId, *names: str) -> None:
    """One record that shows as one event for each name."""
    brain = made.brain(session_id)
    for name in names:
        await brain.append([retitled(name)])


async def test_reader_sees_a_turn_in_the_order_of_the_log(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        reader = await opened(made, session_id)
        await made.brain(session_id).answer("hi")
        seen = await read_until(reader, lambda events: len(events) >= len(TURN))
        assert [event["type"] for event in seen] == TURN


async def test_internal_events_and_queued_forms_are_never_shown(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        reader = await opened(made, session_id)
        await made.create_input(session_id, "one")
        await made.brain(session_id).answer("hi")
        seen = await read_until(reader, lambda events: len(events) >= len(TURN))
        assert not [event for event in seen if str(event["type"]).startswith("internal.")]
        assert [event for event in seen if event["processed_at"] is None] == []


async def test_events_of_another_thread_stay_on_their_own_stream(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        child = ThreadId("sthr_child")
        own = await opened(made, session_id)
        other = await made.services.hub.open(session_id, child, frozenset())
        other.start_after(await made.log.last_sequence(session_id))
        brain = made.brain(session_id)
        await brain.append([lambda id, at: AgentMessage(id=id, content=(), processed_at=at)], thread=child)
        await brain.append([retitled("done")])
        await brain.append([lambda id, at: AgentMessage(id=id, content=(), processed_at=at)], thread=child)
        assert [e["type"] for e in await read_until(own, lambda events: len(events) == 1)] == ["session.updated"]
        assert [e["type"] for e in await read_until(other, lambda events: len(events) == 2)] == ["agent.message"] * 2


async def test_reader_that_falls_behind_reads_the_log_and_comes_back_to_live(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        hub = made.services.hub
        hub._mailbox_bytes_max = 500
        slow, quick = await opened(made, session_id), await opened(made, session_id)
        names = [f"title {index}" for index in range(60)]
        seen: list[dict[str, object]] = []
        async with asyncio.timeout(WAIT_S), aclosing(slow.chunks(WAIT_S)) as chunks:
            await retitle(made, session_id, *names[:3])
            seen += frames_of(await anext(chunks))
            # It takes nothing while these pass: far more than its mailbox holds.
            await retitle(made, session_id, *names[3:50])
            assert titles(await read_until(quick, lambda events: len(events) == 50)) == names[:50]
            assert slow._is_behind
            while len(titles(seen)) < 50:
                seen += frames_of(await anext(chunks))
            await retitle(made, session_id, *names[50:])
            while len(titles(seen)) < len(names):
                seen += frames_of(await anext(chunks))
            live = asyncio.create_task(anext(chunks))
            await retitle(made, session_id, "the last one")
            seen += frames_of(await live)
            assert not slow._is_behind
        assert titles(seen) == [*names, "the last one"]


async def test_reader_resumes_after_a_position_within_a_record(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        await made.brain(session_id).answer("hi")
        last = await made.log.last_sequence(session_id)
        reader = await made.services.hub.open(session_id, None, frozenset())
        reader.resume_after(Position(last, 1), last)
        seen = await read_until(reader, lambda events: len(events) >= 3)
        assert [event["type"] for event in seen] == TURN[-3:]


async def test_records_that_pass_between_opening_and_the_first_look_are_not_lost(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        before = await made.log.last_sequence(session_id)
        reader = await made.services.hub.open(session_id, None, frozenset())
        witness = await opened(made, session_id)
        await retitle(made, session_id, "passed before the start was known")
        await read_until(witness, lambda events: len(events) == 1)
        reader.start_after(before)
        seen = await read_until(reader, lambda events: len(events) == 1)
        assert titles(seen) == ["passed before the start was known"]


async def test_deletion_is_the_last_event_and_ends_the_stream(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        reader = await opened(made, session_id)
        await made.delete(session_id)
        seen = await read_until(reader, lambda _: False)
        assert [event["type"] for event in seen] == ["session.deleted"]


async def test_reader_behind_is_told_of_a_deletion_whose_log_is_gone(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        made.services.hub._mailbox_bytes_max = 200
        reader = await opened(made, session_id)
        witness = await opened(made, session_id)
        await retitle(made, session_id, "a", "b", "c", "d")
        await made.delete(session_id)
        await read_until(witness, lambda _: False)
        assert await made.log.last_sequence(session_id) == 0
        seen = await read_until(reader, lambda _: False)
        assert [event["type"] for event in seen] == ["session.deleted"]


async def test_silence_gives_a_heartbeat(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        reader = await opened(made, await made.create())
        async with asyncio.timeout(WAIT_S), aclosing(reader.chunks(0.01)) as chunks:
            assert await anext(chunks) == HEARTBEAT


async def test_drain_ends_every_stream_after_what_waits(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        reader = await opened(made, session_id)
        event = PublicEvent(Position(1 << 40, 0), None, "session.updated", "sevt_x", "", b'{"type":"session.updated"}')
        made.services.hub.record(session_id, 1 << 40, (event,))
        made.services.hub.end_all()
        assert [e["type"] for e in await read_until(reader, lambda _: False)] == ["session.updated"]


async def test_the_reader_beyond_the_limit_is_refused_and_a_closed_one_makes_room(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        hub = LiveHub(made.log, readers_max=2)
        first = await opened(made, session_id, hub)
        await opened(made, session_id, hub)
        with pytest.raises(TooManyReaders):
            await opened(made, session_id, hub)
        await hub.close(first)
        await hub.close(first)
        await opened(made, session_id, hub)


async def test_watching_a_session_keeps_nothing_once_its_last_reader_is_gone(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        reader = await made.services.hub.open(session_id, None, frozenset({"agent.message"}))
        assert made.services.hub.is_watched(session_id)
        await made.services.hub.close(reader)
        assert not made.services.hub.is_watched(session_id)


# --- previews ---------------------------------------------------------------------------------------------------------


def start_of(event_id: str, event_type: str = "agent.message") -> dict[str, object]:
    return {"type": "event_start", "event": {"type": event_type, "id": event_id}}


def delta_of(event_id: str, text: str) -> dict[str, object]:
    content = {"type": "text", "text": text}
    return {
        "type": "event_delta",
        "event_id": event_id,
        "delta": {"type": "content_delta", "index": 0, "content": content},
    }


async def test_previews_come_between_the_request_start_and_their_event(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        reader = await made.services.hub.open(session_id, None, frozenset({"agent.message"}))
        reader.start_after(await made.log.last_sequence(session_id))
        brain = made.brain(session_id)
        span = await brain.start_turn()
        coming = EventId("sevt_coming")
        for event in (start_of(coming), delta_of(coming, "h"), delta_of(coming, "i"), start_of(coming)):
            await made.preview(session_id, brain.sequence, event)
        seen = await read_until(reader, lambda events: len(events) >= 7)
        await brain.end_turn(span, "hi", message_id=coming)
        await made.preview(session_id, brain.sequence - 1, delta_of(coming, "too late"))
        seen += await read_until(reader, lambda events: len(events) >= 5)
        assert [event["type"] for event in seen] == [*TURN[:4], "event_start", "event_delta", "event_delta", *TURN[4:]]


async def test_a_preview_waits_for_the_record_that_it_follows(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        reader = await made.services.hub.open(session_id, None, frozenset({"agent.message"}))
        reader.start_after(await made.log.last_sequence(session_id))
        brain = made.brain(session_id)
        await brain.look()
        # The next record of this stream is the one that opens the request.
        await made.preview(session_id, brain.sequence + 1, start_of("sevt_early"))
        await made.connection.flush(WAIT_S)
        await brain.start_turn()
        seen = await read_until(reader, lambda events: len(events) >= 5)
        assert [event["type"] for event in seen] == [*TURN[:4], "event_start"]


async def test_a_stream_opened_during_a_request_gets_no_previews_of_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        brain = made.brain(session_id)
        span = await brain.start_turn()
        reader = await made.services.hub.open(session_id, None, frozenset({"agent.message"}))
        reader.start_after(await made.log.last_sequence(session_id))
        await made.preview(session_id, brain.sequence, start_of("sevt_coming"))
        await made.connection.flush(WAIT_S)
        await brain.end_turn(span, "hi", message_id=EventId("sevt_coming"))
        seen = await read_until(reader, lambda events: len(events) >= 5)
        assert [event["type"] for event in seen] == TURN[4:]


async def test_only_the_asked_types_are_previewed_and_a_stream_that_asked_for_none_gets_none(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("hello"))
        hub = made.services.hub
        thinking, none = await hub.open(session_id, None, frozenset({"agent.thinking"})), await opened(made, session_id)
        thinking.start_after(await made.log.last_sequence(session_id))
        brain = made.brain(session_id)
        span = await brain.start_turn()
        await made.preview(session_id, brain.sequence, start_of("sevt_thought", "agent.thinking"))
        await made.preview(session_id, brain.sequence, start_of("sevt_text"))
        await made.connection.flush(WAIT_S)
        await brain.end_turn(span, "hi")
        asked = await read_until(thinking, lambda events: len(events) >= 10)
        assert [e["event"] for e in asked if e["type"] == "event_start"] == [
            {"type": "agent.thinking", "id": "sevt_thought"}
        ]
        plain = await read_until(none, lambda events: len(events) >= 9)
        assert [event["type"] for event in plain] == TURN
