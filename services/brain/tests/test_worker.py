"""What a brain does with a session: exactly what is pending, recorded once, handed on when it goes away."""

import asyncio

import orjson

from efferent.brain.ports import ModelFailure, ToolCallDraft
from efferent.common.domain.commands import InterruptDraft
from efferent.common.domain.content import TextBlock
from efferent.common.domain.events.stop import EndTurn, RequiresAction, RetriesExhausted
from efferent.common.domain.ids import BrainId
from efferent.common.domain.react import pending
from efferent.common.domain.state import Idle, Runnable, Running, SessionState, Terminated
from efferent.common.testing.specification import message, toolset
from tests.support.brain_stage import DEADLINE_S, SESSION, Stage

TEXT = TextBlock(text="hi")
BASH = ToolCallDraft("bash", {"command": "true"})


def ended(state: SessionState) -> bool:
    return isinstance(state.status, Idle) and state.status.stop_reason is not None and not pending(state)


def has_call(state: SessionState) -> bool:
    return any(isinstance(call.phase, Runnable) for call in state.calls)


async def asked(stage: Stage) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await stage.model.asked.wait()
    stage.model.asked.clear()


async def settled(stage: Stage) -> None:
    """Everything delivered is acknowledged."""
    async with asyncio.timeout(DEADLINE_S):
        while stage.durable.pending or stage.durable.due:
            await stage.acknowledged.wait()
            stage.acknowledged.clear()


async def test_a_text_turn_is_recorded_and_its_input_acknowledged(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(TEXT)
    await stage.create()
    await stage.send(message())
    state = await stage.until(ended)
    assert state.status == Idle(EndTurn())
    await settled(stage)


async def test_previews_carry_the_id_of_the_event_that_follows(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(TEXT)
    await stage.create()
    await stage.send(message())
    await stage.until(ended)
    start, delta = (orjson.loads(line) for payload in stage.deltas for line in payload.splitlines())
    events = [entry.event async for stored in stage.log.read(SESSION) for entry in stored.record.entries]
    final = next(event for event in events if event.type == "agent.message")
    assert start["event"]["event"] == {"type": "agent.message", "id": final.id}
    assert delta["event"]["event_id"] == final.id
    assert delta["after"] == start["after"]


async def test_a_tool_turn_runs_each_call_once(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(BASH, BASH)
    await stage.create(toolset())
    await stage.send(message())
    state = await stage.until(lambda state: len(state.calls) == 2)
    stage.model.answer(TEXT)
    for call in state.calls:
        stage.hands.finish(call.id)
    await stage.until(ended)
    assert sorted(stage.hands.calls) == sorted(call.id for call in state.calls)


async def test_a_message_during_a_tool_reaches_the_next_request(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(BASH)
    await stage.create(toolset())
    await stage.send(message("first"))
    state = await stage.until(has_call)
    await stage.send(message("second"))
    stage.model.answer(TEXT)
    stage.hands.finish(state.calls[0].id)
    await stage.until(ended)
    last = stage.model.requests[-1].messages[-1]
    assert [type(part).__name__ for part in last.parts] == ["ToolResult", "TextBlock"]
    assert (await stage.types()).count("session.status_idle") == 1


async def test_an_interrupt_ends_the_request_at_once(stage: Stage) -> None:
    stage.brain()
    await stage.create()
    await stage.send(message())
    await asked(stage)
    await stage.send(InterruptDraft())
    state = await stage.until(ended)
    assert state.status == Idle(EndTurn())
    await asyncio.wait_for(stage.model.cancelled.wait(), DEADLINE_S)


async def test_an_interrupt_cancels_the_running_call(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(BASH)
    await stage.create(toolset())
    await stage.send(message())
    state = await stage.until(has_call)
    await asyncio.wait_for(stage.hands.called.wait(), DEADLINE_S)
    await stage.send(InterruptDraft())
    await stage.until(ended)
    assert await asyncio.wait_for(stage.hands.cancelled.get(), DEADLINE_S) == state.calls[0].id


async def test_a_failed_request_is_tried_again(stage: Stage) -> None:
    stage.brain()
    stage.model.fail(ModelFailure("model_overloaded", "retryable", "busy"))
    stage.model.answer(TEXT)
    await stage.create()
    await stage.send(message())
    state = await stage.until(ended)
    assert state.status == Idle(EndTurn())
    assert "session.status_rescheduled" in await stage.types()


async def test_failures_without_end_exhaust_the_turn(stage: Stage) -> None:
    stage.brain()
    for _ in range(10):
        stage.model.fail(ModelFailure("model_overloaded", "retryable", "busy"))
    await stage.create()
    await stage.send(message())
    state = await stage.until(ended)
    assert state.status == Idle(RetriesExhausted())


async def test_a_terminal_failure_ends_the_session(stage: Stage) -> None:
    stage.brain()
    stage.model.fail(ModelFailure("model_request_failed", "terminal", "too long"))
    await stage.create()
    await stage.send(message())
    await stage.until(lambda state: isinstance(state.status, Terminated))
    await settled(stage)


async def test_a_full_context_is_summarised_before_the_next_request(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(BASH, tokens=900)
    await stage.create(toolset())
    await stage.send(message("the history"))
    state = await stage.until(has_call)
    stage.model.answer(TextBlock(text="the summary"))
    stage.model.answer(TEXT)
    stage.hands.finish(state.calls[0].id)
    await stage.until(ended)
    last = stage.model.requests[-1].messages
    assert len(last) == 1
    assert "the summary" in str(last[0].parts)
    assert "agent.thread_context_compacted" in await stage.types()


async def test_a_session_that_waits_for_its_client_is_acknowledged(stage: Stage) -> None:
    stage.brain()
    stage.model.answer(BASH)
    await stage.create(toolset("always_ask"))
    await stage.send(message())
    state = await stage.until(ended)
    assert isinstance(state.status, Idle)
    assert isinstance(state.status.stop_reason, RequiresAction)
    await settled(stage)
    assert stage.hands.calls == []


async def test_another_brain_finishes_what_a_dead_one_began(stage: Stage) -> None:
    first = stage.brain("brain_1")
    stage.model.answer(BASH)
    await stage.create(toolset())
    await stage.send(message())
    state = await stage.until(has_call)
    await asyncio.wait_for(stage.hands.called.wait(), DEADLINE_S)
    await first.drain()
    stage.brain("brain_2")
    stage.model.answer(TEXT)
    stage.hands.finish(state.calls[0].id)
    await stage.until(ended)
    assert set(stage.hands.calls) == {state.calls[0].id}
    assert stage.hands.cancelled.empty()


async def test_a_session_of_a_live_brain_is_left_alone(stage: Stage) -> None:
    stage.presences.alive[BrainId("brain_1")] = True
    stage.presences.holders[SESSION] = BrainId("brain_1")
    stage.brain("brain_2")
    await stage.create()
    await stage.send(message())
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            await stage.presences.looked_up.get()
    assert stage.model.requests == []
    stage.presences.holders.clear()
    stage.model.answer(TEXT)
    await stage.until(ended)


async def test_a_drained_brain_holds_nothing(stage: Stage) -> None:
    brain = stage.brain()
    await stage.create()
    await stage.send(message())
    await asked(stage)
    await brain.drain()
    assert brain.session_ids == ()
    state, _ = await stage.state()
    assert state is not None
    assert isinstance(state.status, Running)


async def test_a_warm_session_is_not_read_again(stage: Stage) -> None:
    brain = stage.brain()
    await stage.create()
    for _ in range(2):
        stage.model.answer(TEXT)
        await stage.send(message())
        await stage.until(ended)
        await settled(stage)
    assert brain.session_ids == ()
    assert [len(request.messages) for request in stage.model.requests] == [1, 3]
