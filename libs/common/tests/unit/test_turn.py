"""The recorded orders of events of a turn, each as given-when-then."""

import pytest

from efferent.common.domain.commands import (
    InterruptDraft,
    RecordCompaction,
    RecordReply,
    RecordToolResult,
    SystemDraft,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.decide_turn import FAILURES_MAX, INTERRUPTED_TEXT, ROUNDS_MAX, STALLED_CLAIMS_MAX
from efferent.common.domain.effects import CompactContext, RequestModel, RetryLater, RunTool, TakeInput
from efferent.common.domain.events import (
    AgentToolResult,
    AgentToolUse,
    SessionError,
    SessionStatusIdle,
    SpanModelRequestEnd,
    UserInterrupt,
    UserMessage,
)
from efferent.common.domain.events.stop import RefusalStopDetails, RequiresAction
from efferent.common.domain.refusals import ClaimLost, InvalidRequest
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.state import Idle, Running, shown_status
from efferent.common.domain.usage import ModelUsage
from efferent.common.testing.specification import Story, call, custom_tool, message, say, toolset

BEGIN = ["session.status_running", "session.thread_status_running", "user.message", "span.model_request_start"]
IDLE = ["session.thread_status_idle", "session.usage", "session.status_idle"]


def started(*tools: object, **options: object) -> Story:
    story = Story(tools=tools, **options).create()  # type: ignore[arg-type]
    story.send(message())
    story.claim()
    return story


def texts(story: Story, call_id: str) -> list[str]:
    results = [e for e in story.events if isinstance(e, AgentToolResult) and e.tool_use_id == call_id]
    return [block.text for result in results for block in result.content if block.type == "text"]


def stop_reason(story: Story) -> str:
    last = [event for event in story.events if isinstance(event, SessionStatusIdle)][-1]
    return last.stop_reason.type


def test_a_text_turn_has_the_recorded_order() -> None:
    story = Story().create()
    assert story.send(message()) == []
    assert story.pending_effects() == (TakeInput(),)
    assert shown_status(story.state) == "running"
    assert story.claim() == BEGIN
    assert story.pending_effects() == (RequestModel(story.span_id),)
    assert story.reply(say("hi")) == ["agent.message", "span.model_request_end", *IDLE]
    assert stop_reason(story) == "end_turn"
    assert story.pending_effects() == ()


def test_times_are_consecutive_microseconds_within_a_record() -> None:
    story = started()
    story.reply(say("hi"))
    times = [event.processed_at for event in story.events if event.processed_at is not None]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


def test_an_allowed_tool_runs_inside_one_turn() -> None:
    story = started(toolset())
    assert story.reply(call()) == ["agent.tool_use", "span.model_request_end"]
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    assert story.result(effect.call_id) == ["agent.tool_result", "span.model_request_start"]
    assert story.reply(say("done")) == ["agent.message", "span.model_request_end", *IDLE]


def test_parallel_calls_all_run_and_the_last_result_begins_the_next_request() -> None:
    story = started(toolset())
    story.reply(call("bash"), call("read"))
    first, second = (effect.call_id for effect in story.pending_effects() if isinstance(effect, RunTool))
    assert story.result(second) == ["agent.tool_result"]
    assert story.result(first) == ["agent.tool_result", "span.model_request_start"]


def test_a_message_sent_while_a_tool_runs_is_steered_into_the_turn() -> None:
    story = started(toolset())
    story.reply(call())
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    story.send(message("and also"))
    assert story.pending_effects() == (effect,)
    assert story.result(effect.call_id) == ["agent.tool_result", "user.message", "span.model_request_start"]


def test_a_message_sent_during_the_last_request_starts_another_one() -> None:
    story = started()
    story.send(message("one more"))
    assert story.reply(say("hi")) == [
        "agent.message",
        "span.model_request_end",
        "user.message",
        "span.model_request_start",
    ]


def test_three_quick_messages_are_all_taken_in_in_order() -> None:
    story = Story().create()
    for text in ("one", "two", "three"):
        story.send(message(text))
    story.claim()
    taken = [event.content[0] for event in story.events if isinstance(event, UserMessage)]
    assert [block.text for block in taken if block.type == "text"] == ["one", "two", "three"]


def test_ask_waits_for_the_client_and_allow_resumes() -> None:
    story = started(toolset("always_ask"))
    assert story.reply(call()) == ["agent.tool_use", "span.model_request_end", *IDLE]
    (call_id,) = (item.id for item in story.state.calls)
    assert story.state.status == Idle(RequiresAction(event_ids=(call_id,)))
    assert story.pending_effects() == ()
    story.confirm(call_id)
    assert story.claim() == [
        "user.tool_confirmation",
        "session.status_running",
        "session.thread_status_running",
    ]
    assert story.result(call_id) == ["agent.tool_result", "span.model_request_start"]


def test_deny_gives_the_model_the_message_and_never_runs_the_tool() -> None:
    story = started(toolset("always_ask"))
    story.reply(call())
    (call_id,) = (item.id for item in story.state.calls)
    story.confirm(call_id, deny="too risky")
    assert story.claim() == [
        "user.tool_confirmation",
        "session.status_running",
        "session.thread_status_running",
        "agent.tool_result",
        "span.model_request_start",
    ]
    assert texts(story, call_id) == ["Permission to use bash has been rejected. Rejection message: too risky"]


def test_a_partial_confirmation_says_idle_again_with_the_rest() -> None:
    story = started(toolset("always_ask"))
    story.reply(call("bash"), call("read"))
    first, second = (item.id for item in story.state.calls)
    story.confirm(first)
    assert story.pending_effects() == (TakeInput(),)
    assert story.claim() == ["user.tool_confirmation", *IDLE]
    assert story.state.status == Idle(RequiresAction(event_ids=(second,)))
    assert story.pending_effects() == ()
    story.confirm(second)
    assert "session.status_running" in story.claim()
    assert len(story.pending_effects()) == 2


def test_a_custom_tool_waits_for_its_result() -> None:
    story = started(custom_tool())
    assert story.reply(call("ask_human")) == ["agent.custom_tool_use", "span.model_request_end", *IDLE]
    (call_id,) = (item.id for item in story.state.calls)
    assert story.answer(call_id) == ["user.custom_tool_result"]
    assert story.claim() == [
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
    ]


def test_allowed_calls_run_before_the_session_waits_for_the_others() -> None:
    story = started(toolset(), custom_tool())
    assert story.reply(call("bash"), call("ask_human"))[-1] == "span.model_request_end"
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    assert story.result(effect.call_id) == ["agent.tool_result", *IDLE]
    assert stop_reason(story) == "requires_action"


def test_an_unknown_or_disabled_tool_is_denied_without_a_policy() -> None:
    story = started(toolset())
    types = story.reply(call("web_search"))
    assert types == ["agent.tool_use", "span.model_request_end", "agent.tool_result", "span.model_request_start"]
    (use,) = (event for event in story.events if isinstance(event, AgentToolUse))
    assert use.evaluated_permission == "deny"
    assert use.evaluation is None


def test_a_message_to_a_session_that_waits_for_answers_is_refused_with_the_ids() -> None:
    story = started(toolset("always_ask"))
    story.reply(call())
    (call_id,) = (item.id for item in story.state.calls)
    with pytest.raises(InvalidRequest, match=call_id):
        story.send(message())


def test_interrupt_while_the_model_answers() -> None:
    story = started()
    story.interrupt()
    assert story.pending_effects() == (TakeInput(),)
    assert story.take() == ["span.model_request_end", "user.interrupt", *IDLE]
    assert stop_reason(story) == "end_turn"
    (end,) = (event for event in story.events if isinstance(event, SpanModelRequestEnd))
    assert end.is_error


def test_interrupt_while_a_tool_runs_closes_the_call_in_error() -> None:
    story = started(toolset())
    story.reply(call())
    (call_id,) = (item.id for item in story.state.calls)
    late = RecordToolResult(story.claim_id, call_id, (), is_error=False)
    story.interrupt()
    assert story.take() == ["agent.tool_result", "user.interrupt", *IDLE]
    assert texts(story, call_id) == [INTERRUPTED_TEXT]
    with pytest.raises(ClaimLost):
        story.when(late)


def test_a_message_around_an_interrupt_starts_the_next_turn() -> None:
    story = started()
    story.send(message("before"))
    story.interrupt()
    story.send(message("after"))
    types = story.take()
    assert types == [
        "span.model_request_end",
        "user.interrupt",
        *IDLE,
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "user.message",
        "span.model_request_start",
    ]


def test_interrupt_while_waiting_for_the_client_ends_the_turn_without_a_model_request() -> None:
    story = started(toolset("always_ask"))
    story.reply(call())
    (call_id,) = (item.id for item in story.state.calls)
    story.interrupt()
    assert story.claim() == ["agent.tool_result", "user.interrupt", *IDLE]
    assert texts(story, call_id) == [INTERRUPTED_TEXT]
    assert stop_reason(story) == "end_turn"
    assert story.pending_effects() == ()


@pytest.mark.parametrize("together", [True, False], ids=["in one request", "one after the other"])
def test_a_message_behind_an_interrupt_of_a_waiting_session_starts_the_next_turn(together: bool) -> None:
    story = started(toolset("always_ask"))
    story.reply(call())
    system = SystemDraft((TextBlock(text="s"),))
    if together:
        story.send(InterruptDraft(), message("instead"), system)
    else:
        story.interrupt()
        story.send(message("instead"), system)
    assert story.claim() == [
        "agent.tool_result",
        "user.interrupt",
        *IDLE,
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "system.message",
        "span.model_request_start",
    ]


def test_a_message_before_the_interrupt_of_a_waiting_session_is_refused() -> None:
    story = started(toolset("always_ask"))
    story.reply(call())
    with pytest.raises(InvalidRequest, match=r"events\[0\]: waiting on responses"):
        story.send(message("first"), InterruptDraft())


def test_interrupt_of_an_idle_session_changes_nothing_but_is_taken_in() -> None:
    story = Story().create()
    story.interrupt()
    assert story.claim() == ["user.interrupt"]
    assert story.pending_effects() == ()
    (taken,) = (event for event in story.events if isinstance(event, UserInterrupt))
    assert taken.processed_at is not None


def test_interrupt_while_rescheduling_ends_the_turn() -> None:
    story = started()
    story.fail()
    story.interrupt()
    assert story.take() == ["user.interrupt", *IDLE]


def test_a_retryable_failure_is_rescheduled_and_tried_again() -> None:
    story = started()
    assert story.fail() == [
        "span.model_request_end",
        "session.error",
        "session.thread_status_rescheduled",
        "session.status_rescheduled",
    ]
    (effect,) = story.pending_effects()
    assert isinstance(effect, RetryLater)
    assert shown_status(story.state) == "rescheduling"
    assert story.retry() == ["session.status_running", "session.thread_status_running", "span.model_request_start"]


def test_used_up_retries_end_the_turn_and_keep_queued_messages() -> None:
    story = started()
    for _ in range(FAILURES_MAX - 1):
        story.fail()
        story.retry()
    story.send(message("still here"))
    assert story.fail() == ["span.model_request_end", "session.error", "user.message", *IDLE]
    assert stop_reason(story) == "retries_exhausted"
    (last,) = [event for event in story.events if isinstance(event, SessionError)][-1:]
    assert last.error.retry_status.type == "exhausted"
    assert story.pending_effects() == ()


def test_a_success_forgets_earlier_failures() -> None:
    story = started(toolset())
    story.fail()
    story.retry()
    story.reply(call())
    assert isinstance(story.state.status, Running)
    assert story.state.status.failures == 0


def test_a_terminal_failure_terminates_the_session() -> None:
    story = started()
    assert story.fail("terminal") == [
        "span.model_request_end",
        "session.error",
        "session.thread_status_terminated",
        "session.status_terminated",
    ]
    with pytest.raises(InvalidRequest, match="terminated"):
        story.send(message())


def test_a_refusal_ends_the_turn_with_its_details() -> None:
    story = started()
    details = RefusalStopDetails(category="cyber", explanation="no")
    story.when(RecordReply(story.claim_id, story.span_id, "m", (), ModelUsage(), None, refusal=details))
    last = story.events[-1]
    assert isinstance(last, SessionStatusIdle)
    assert last.stop_details == details


def test_a_take_over_closes_the_span_in_error_and_opens_a_new_one() -> None:
    story = started()
    lost_claim, lost_span = story.claim_id, story.span_id
    assert story.claim("brain_2") == ["span.model_request_end", "span.model_request_start"]
    with pytest.raises(ClaimLost):
        story.when(RecordReply(lost_claim, lost_span, "m", (say("late"),), ModelUsage(), None))
    assert story.reply(say("hi"))[-1] == "session.status_idle"


def test_a_take_over_while_a_tool_runs_asks_for_the_same_call_again() -> None:
    story = started(toolset())
    story.reply(call())
    before = story.pending_effects()
    assert story.claim("brain_2") == []
    assert story.pending_effects() == before


def test_claims_without_progress_end_the_turn() -> None:
    story = started()
    for number in range(STALLED_CLAIMS_MAX - 1):
        story.claim(f"brain_{number + 2}")
    types = story.claim("brain_9")
    assert types == ["span.model_request_end", "session.error", *IDLE]
    assert stop_reason(story) == "retries_exhausted"


def test_too_many_rounds_end_the_turn_with_the_limit_error() -> None:
    story = started(toolset())
    types: list[str] = []
    for _ in range(ROUNDS_MAX):
        story.reply(call())
        (effect,) = story.pending_effects()
        assert isinstance(effect, RunTool)
        types = story.result(effect.call_id)
    assert types == ["agent.tool_result", "session.error", *IDLE]
    (last,) = [event for event in story.events if isinstance(event, SessionError)]
    assert last.error.type == "tool_use_limit_reached_error"


def test_compaction_happens_between_two_requests() -> None:
    story = started(toolset())
    story.reply(call(), compaction_due=True)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    assert story.result(effect.call_id) == ["agent.tool_result"]
    (compact,) = story.pending_effects()
    assert isinstance(compact, CompactContext)
    done = RecordCompaction(story.claim_id, "in short", compact.up_to, ModelUsage(), "m", None)
    assert story.when(done) == ["agent.thread_context_compacted", "span.model_request_start"]


def test_a_turn_that_begins_over_the_limit_compacts_before_it_takes_the_message_in() -> None:
    story = started()
    story.reply(say("long"), compaction_due=True)
    story.send(message("next"))
    assert story.claim() == ["session.status_running", "session.thread_status_running"]
    (compact,) = story.pending_effects()
    assert isinstance(compact, CompactContext)
    done = RecordCompaction(story.claim_id, "in short", compact.up_to, ModelUsage(), "m", None)
    assert story.when(done) == ["agent.thread_context_compacted", "user.message", "span.model_request_start"]


def test_a_self_hosted_session_leaves_built_in_tools_to_the_worker() -> None:
    story = started(toolset(), environment=SelfHostedConfig())
    assert story.reply(call()) == ["agent.tool_use", "span.model_request_end", *IDLE]
    assert stop_reason(story) == "requires_action"
