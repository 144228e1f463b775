"""Budgets in the turn loop: the crossing request finishes, nothing is asked beyond it, and more money resumes work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efferent.common.domain.commands import RecordCompaction, SetTitle, SystemDraft, UpdateSession
from efferent.common.domain.content import TextBlock
from efferent.common.domain.effects import RequestModel, RunTool, TakeInput
from efferent.common.domain.events import (
    SessionStatusIdle,
    SessionThreadStatusIdle,
    SessionUpdated,
    SessionUsage,
    SpanModelRequestStart,
)
from efferent.common.domain.refusals import InvalidRequest, Refused
from efferent.common.domain.resources.session import session_of
from efferent.common.domain.state import Idle, shown_status
from efferent.common.domain.totals import list_cost_micro_usd
from efferent.common.domain.usage import ModelUsage
from efferent.common.testing.specification import Story, budget, call, custom_tool, message, say, toolset

CENT = 10_000
PAUSE = ["session.thread_status_idle", "session.usage", "session.status_idle"]
RUNNING = ["session.status_running", "session.thread_status_running"]


def started(cents: int, *tools: object) -> Story:
    story = Story(tools=tools, budget_cents=cents).create()  # type: ignore[arg-type]
    story.send(message())
    story.claim()
    return story


def reasons(story: Story) -> tuple[str, str]:
    """Stop reasons of the last idle: the thread's and the session's."""
    thread = [event for event in story.events if isinstance(event, SessionThreadStatusIdle)][-1]
    session = [event for event in story.events if isinstance(event, SessionStatusIdle)][-1]
    return thread.stop_reason.type, session.stop_reason.type


def test_a_turn_below_the_budget_is_a_turn_like_any_other_and_usage_shows_the_budget() -> None:
    story = started(1)
    story.reply(say("hi"), cost_micro_usd=CENT - 100)
    assert reasons(story) == ("end_turn", "end_turn")
    usage = [event for event in story.events if isinstance(event, SessionUsage)][-1]
    assert usage.budget == budget(1)
    assert session_of(story.state, story.state.last_at).budget == budget(1)


def test_the_crossing_request_finishes_and_its_tools_run_before_the_thread_pauses() -> None:
    story = started(1, toolset())
    assert story.reply(call(), cost_micro_usd=CENT) == ["agent.tool_use", "span.model_request_end"]
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    assert story.result(effect.call_id) == ["agent.tool_result", *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")
    assert story.pending_effects() == ()
    assert story.state.claim is None


def test_a_last_request_that_ends_the_turn_says_end_turn_and_its_session_is_at_the_cap() -> None:
    story = started(1)
    assert story.reply(say("bye"), cost_micro_usd=2 * CENT) == ["agent.message", "span.model_request_end", *PAUSE]
    assert reasons(story) == ("end_turn", "budget_reached")
    story.set_budget(5)
    assert story.pending_effects() == (), "there is no paused work"
    story.send(message("again"))
    assert story.pending_effects() == (TakeInput(),)


@pytest.mark.parametrize("cents", [10, None])
def test_raising_or_removing_the_budget_resumes_paused_work_by_itself(cents: int | None) -> None:
    story = started(1, toolset())
    story.reply(call(), cost_micro_usd=CENT)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    story.result(effect.call_id)
    assert story.set_budget(cents) == ["session.updated"]
    assert shown_status(story.state) == "running"
    assert story.pending_effects() == (TakeInput(),)
    assert story.claim() == [*RUNNING, "span.model_request_start"]
    assert story.reply(say("done")) == ["agent.message", "span.model_request_end", *PAUSE]
    assert reasons(story) == ("end_turn", "end_turn")


def test_at_the_cap_only_answers_and_interrupts_may_be_sent() -> None:
    story = started(1)
    story.reply(say("hi"), cost_micro_usd=CENT)
    allowed = "`user.tool_confirmation`, `user.tool_result`, `user.custom_tool_result`, or `user.interrupt`"
    for event in (message(), SystemDraft((TextBlock(text="s"),))):
        with pytest.raises(InvalidRequest) as refused:
            story.send(event)
        assert allowed in refused.value.message
        assert "events[0]" in refused.value.message
    before = len(story.records)
    assert story.interrupt() == []
    assert len(story.records) == before, "an interrupt at the cap is accepted and not recorded"
    assert story.pending_effects() == ()


def test_an_ignored_interrupt_leaves_paused_work_paused() -> None:
    story = started(1, toolset())
    story.reply(call(), cost_micro_usd=CENT)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    story.result(effect.call_id)
    story.interrupt()
    story.set_budget(2)
    assert story.claim() == [*RUNNING, "span.model_request_start"]


def test_a_message_that_waits_when_the_cap_is_reached_is_taken_in_once_there_is_money() -> None:
    story = started(1)
    story.send(message("one more"))
    assert story.reply(say("hi"), cost_micro_usd=CENT) == ["agent.message", "span.model_request_end", *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")
    assert (story.pending_effects(), shown_status(story.state)) == ((), "idle")
    story.set_budget(3)
    assert story.claim() == [*RUNNING, "user.message", "span.model_request_start"]


def test_a_pending_ask_outranks_the_cap_and_its_settled_result_asks_no_model() -> None:
    story = started(1, toolset("always_ask"))
    story.reply(call(), cost_micro_usd=CENT)
    assert reasons(story) == ("requires_action", "requires_action")
    (item,) = story.state.calls
    story.confirm(item.id)
    assert story.claim() == ["user.tool_confirmation", *RUNNING]
    assert story.result(item.id) == ["agent.tool_result", *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")


def test_a_custom_result_at_the_cap_is_taken_and_asks_no_model() -> None:
    story = started(1, custom_tool())
    story.reply(call("ask_human"), cost_micro_usd=CENT)
    (item,) = story.state.calls
    story.answer(item.id)
    assert story.claim() == [*RUNNING, *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")
    assert story.pending_effects() == ()


def test_an_interrupt_of_blocked_calls_at_the_cap_closes_them() -> None:
    story = started(1, custom_tool())
    story.reply(call("ask_human"), cost_micro_usd=CENT)
    story.interrupt()
    assert story.claim() == ["agent.tool_result", "user.interrupt", *PAUSE]
    assert reasons(story) == ("end_turn", "budget_reached")
    story.set_budget(2)
    assert story.pending_effects() == (), "the interrupt ended the turn"


def test_an_interrupt_that_came_before_the_pause_ends_the_paused_work() -> None:
    story = started(1)
    story.send(message("more"))
    story.interrupt()
    story.reply(say("hi"), cost_micro_usd=CENT)
    assert reasons(story) == ("budget_reached", "budget_reached")
    assert story.claim() == ["user.interrupt", *PAUSE]
    assert reasons(story) == ("end_turn", "budget_reached")
    assert story.pending_effects() == ()


def test_running_time_counts() -> None:
    story = started(1, toolset())
    story.reply(call(), cost_micro_usd=CENT - 1)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    story._step += 60_000  # a minute of running costs 0.13 cents
    assert story.result(effect.call_id) == ["agent.tool_result", *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")


def test_a_context_that_is_due_for_compaction_is_not_compacted_at_the_cap() -> None:
    story = started(1, toolset())
    story.reply(call(), cost_micro_usd=CENT, compaction_due=True)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    assert story.result(effect.call_id) == ["agent.tool_result", *PAUSE]
    story.set_budget(4)
    assert story.claim() == RUNNING
    up_to = story.state.last_context_event
    assert up_to is not None
    assert story.when(RecordCompaction(story.claim_id, "short", up_to, ModelUsage(), "m", 5 * CENT)) == [
        "agent.thread_context_compacted",
        *PAUSE,
    ]


def test_a_takeover_at_the_cap_makes_no_new_request() -> None:
    story = started(1)
    story._step += 600_000  # the first brain hung for so long that the running time alone reached the cap
    assert story.claim("brain_2") == ["span.model_request_end", *PAUSE]
    assert reasons(story) == ("budget_reached", "budget_reached")


def test_a_model_without_list_price_pauses_a_session_with_a_budget() -> None:
    story = started(100)
    story.reply(say("hi"), cost_micro_usd=None)
    assert reasons(story) == ("end_turn", "budget_reached")
    story.set_budget(None)
    story.send(message())
    assert story.pending_effects() == (TakeInput(),)


@pytest.mark.parametrize(
    ("have", "wanted", "code"),
    [(None, 5, "budget_create_only"), (2, 2, "budget_not_raised"), (2, 1, "budget_not_raised")],
)
def test_changes_that_are_refused(have: int | None, wanted: int, code: str) -> None:
    story = Story(budget_cents=have).create(message())
    story.claim()
    story.reply(say("hi"), cost_micro_usd=2 * CENT)
    with pytest.raises(InvalidRequest) as refused:
        story.set_budget(wanted)
    assert refused.value.code == code
    assert code in refused.value.message


def test_a_removed_budget_stays_removed_and_removing_none_records_nothing() -> None:
    story = Story(budget_cents=5).create()
    assert story.set_budget(None) == ["session.updated"]
    updated = story.events[-1]
    assert isinstance(updated, SessionUpdated)
    assert updated.model_dump()["budget"] is None
    assert story.set_budget(None) == []
    with pytest.raises(InvalidRequest) as refused:
        story.set_budget(9)
    assert refused.value.code == "budget_create_only"


def test_an_equal_budget_and_other_fields_together() -> None:
    story = Story(budget_cents=5).create()
    assert story.set_budget(5) == []
    assert story.when(UpdateSession(title=SetTitle("t"))) == ["session.updated"]
    updated = story.events[-1]
    assert isinstance(updated, SessionUpdated)
    assert "budget" not in updated.model_dump()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["message", "work", "work", "raise", "interrupt", "take_over"]), st.integers(0, 30_000)
        ),
        max_size=40,
    )
)
def test_no_request_ever_begins_at_the_cap_and_nothing_paused_is_lost(steps: list[tuple[str, int]]) -> None:
    story = Story(tools=(toolset(),), budget_cents=2).create()
    cents = 2
    for kind, number in steps:
        spent_before, spans = list_cost_micro_usd(story.state, story.state.last_at), spans_of(story)
        try:
            match kind:
                case "message":
                    story.send(message())
                case "interrupt":
                    story.interrupt()
                case "raise":
                    cents += 2
                    story.set_budget(cents)
                case "take_over" if story.pending_effects():
                    story.claim()
                case _:
                    work(story, number)
        except Refused:
            continue
        if spans_of(story) > spans:
            assert spent_before < cents * CENT
    while story.pending_effects():
        work(story, 0)
    assert isinstance(story.state.status, Idle)
    story.set_budget(None)
    while story.pending_effects():
        work(story, 0)
    assert (story.state.queue, story.state.is_paused) == ((), False)


def spans_of(story: Story) -> int:
    return sum(isinstance(event, SpanModelRequestStart) for event in story.events)


def work(story: Story, cost_micro_usd: int) -> None:
    effects = story.pending_effects()
    if not effects:
        return
    match effects[0]:
        case TakeInput() if story.state.claim is not None:
            story.take()
        case TakeInput():
            story.claim()
        case RequestModel():
            parts = (call(),) if cost_micro_usd % 2 else (say("ok"),)
            story.reply(*parts, cost_micro_usd=cost_micro_usd)
        case RunTool(call_id=call_id):
            story.result(call_id)
        case _:
            story.retry()
