"""Turns that are rarer than those of ``test_turn.py``: mixed answers, limits, late brains, workers, MCP."""

import pytest

from efferent.common.domain.commands import (
    ClaimTurn,
    ConfirmationDraft,
    RecordCompaction,
    RecordFailure,
    SendEvents,
    StartRequest,
    ToolResultDraft,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.decide_turn import COMPACTIONS_MAX, STALLED_CLAIMS_MAX
from efferent.common.domain.effects import BeginRequest, CompactContext, Effect, RunTool, TakeInput, effect_key
from efferent.common.domain.events import SessionError, SessionStatusIdle
from efferent.common.domain.ids import BrainId, ClaimId, EventId, is_well_formed, parse_session_id
from efferent.common.domain.refusals import ClaimLost, InvalidRequest
from efferent.common.domain.resources.agent import McpServer, PermissionPolicy, SandboxToolConfig
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.state import Rescheduling, Runnable
from efferent.common.domain.transcript import Transcript, extend_all
from efferent.common.domain.usage import ModelUsage
from efferent.common.testing.specification import Story, agent, call, custom_tool, message, say, toolset

ASK = PermissionPolicy(type="always_ask")
IDLE = ["session.thread_status_idle", "session.usage", "session.status_idle"]


def started(*tools: object, environment: object = None) -> Story:
    story = Story(tools=tools) if environment is None else Story(tools=tools, environment=environment)  # type: ignore[arg-type]
    story.create()
    story.send(message())
    story.claim()
    return story


def ask_and_allow() -> Story:
    """A session with one call that runs and one that asks, still running."""
    story = started(toolset("always_ask"))
    story.reply(call("bash"), call("read"))
    first, second = (item.id for item in story.state.calls)
    story.send(ConfirmationDraft(first, "allow"), ConfirmationDraft(second, "allow"))
    story.claim()
    return story


def test_all_confirmations_in_one_request_resume_at_once() -> None:
    story = ask_and_allow()
    assert len(story.pending_effects()) == 2
    assert all(isinstance(item.phase, Runnable) for item in story.state.calls)


def test_a_custom_result_that_comes_while_another_call_runs_is_taken_in() -> None:
    story = started(toolset(), custom_tool())
    story.reply(call("bash"), call("ask_human"))
    running, asked = (item.id for item in story.state.calls)
    assert story.answer(asked) == ["user.custom_tool_result"]
    assert story.result(running) == ["agent.tool_result", "span.model_request_start"]


def test_a_confirmation_while_another_call_runs_is_taken_in_by_the_holder() -> None:
    bash_asks = SandboxToolConfig(type="bash", name="bash", enabled=True, permission_policy=ASK)
    story = started(toolset().model_copy(update={"configs": (bash_asks,)}))
    story.reply(call("bash"), call("read"))
    asked, running = (item.id for item in story.state.calls)
    story.confirm(asked)
    assert isinstance(story.pending_effects()[0], TakeInput)
    assert story.take() == ["user.tool_confirmation"]
    assert story.result(running) == ["agent.tool_result"]
    assert story.result(asked) == ["agent.tool_result", "span.model_request_start"]


def test_a_terminated_session_cannot_be_claimed() -> None:
    story = started()
    story.fail("terminal")
    with pytest.raises(ClaimLost):
        story.claim()


def test_an_idle_session_without_input_cannot_be_claimed() -> None:
    with pytest.raises(ClaimLost, match="no input"):
        Story().create().claim()


def test_a_request_cannot_be_opened_twice() -> None:
    story = started()
    with pytest.raises(ClaimLost, match="open already"):
        story.retry()


def test_a_late_failure_of_a_compaction_is_refused_when_nothing_runs() -> None:
    story = started()
    claim_id = story.claim_id
    story.fail()
    assert isinstance(story.state.status, Rescheduling)
    with pytest.raises(ClaimLost, match="no request"):
        story.when(RecordFailure(claim_id, None, "unknown", "retryable", "no", 1))


def test_a_summary_of_another_context_is_refused() -> None:
    story = started(toolset())
    with pytest.raises(ClaimLost, match="moved on"):
        story.when(RecordCompaction(story.claim_id, "s", EventId("sevt_other"), ModelUsage(), "m", None))


def test_a_failed_summary_is_tried_again() -> None:
    story = started(toolset())
    story.reply(call(), compaction_due=True)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    story.result(effect.call_id)
    types = story.when(RecordFailure(story.claim_id, None, "model_rate_limited", "retryable", "slow down", 1))
    assert types == ["session.error", "session.thread_status_rescheduled", "session.status_rescheduled"]
    story.when(StartRequest(story.claim_id))
    assert isinstance(story.pending_effects()[0], CompactContext)


def test_compactions_without_progress_end_the_turn() -> None:
    story = started(toolset())
    story.reply(call(), compaction_due=True)
    (effect,) = story.pending_effects()
    assert isinstance(effect, RunTool)
    types = story.result(effect.call_id)
    for number in range(COMPACTIONS_MAX):
        (compact,) = story.pending_effects()
        assert isinstance(compact, CompactContext), number
        story.when(RecordCompaction(story.claim_id, "s", compact.up_to, ModelUsage(), "m", None))
        types = story.reply(compaction_due=True, more=True)
    assert types[-len(IDLE) :] == IDLE
    (error,) = (event for event in story.events if isinstance(event, SessionError))
    assert error.error.type == "compaction_limit_reached_error"


def test_a_stalled_session_that_waits_for_a_retry_is_given_up_too() -> None:
    story = started()
    story.fail()
    for number in range(STALLED_CLAIMS_MAX - 1):
        story.claim(f"brain_{number}")
    assert story.claim("brain_last")[-1] == "session.status_idle"
    last = story.events[-1]
    assert isinstance(last, SessionStatusIdle)
    assert last.stop_reason.type == "retries_exhausted"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("model_request_failed", "model_request_failed_error"),
        ("billing", "billing_error"),
        ("unknown", "unknown_error"),
        ("model_rate_limited", "model_rate_limited_error"),
    ],
)
def test_each_kind_of_failure_has_its_error(kind: str, expected: str) -> None:
    story = started()
    story.when(RecordFailure(story.claim_id, story.span_id, kind, "exhausted", "no", 1))  # type: ignore[arg-type]
    (error,) = (event for event in story.events if isinstance(event, SessionError))
    assert error.error.type == expected


def test_thinking_is_shown_without_content_and_kept_for_the_model() -> None:
    story = started()
    assert story.reply(Thought("claude-test", "hm", "sig", None), say("hi"), say(""))[:2] == [
        "agent.thinking",
        "agent.message",
    ]
    transcript = transcript_of(story)
    assert transcript.messages[-1].parts == (Thought("claude-test", "hm", "sig", None), TextBlock(text="hi"))


def test_mcp_servers_are_reported_once_per_turn_and_the_turn_goes_on() -> None:
    story = Story().create()
    story.current = story.state.__class__(
        **{
            **story.state.__dict__,
            "agent": agent().model_copy(update={"mcp_servers": (McpServer(name="docs", url="https://x.test"),)}),
        }
    )
    story.send(message())
    assert story.claim() == [
        "session.status_running",
        "session.thread_status_running",
        "session.error",
        "user.message",
        "span.model_request_start",
    ]


def test_a_worker_answers_a_confirmed_call_of_a_self_hosted_session() -> None:
    story = started(toolset("always_ask"), environment=SelfHostedConfig())
    story.reply(call("bash"))
    (call_id,) = (item.id for item in story.state.calls)
    with pytest.raises(InvalidRequest, match="waits for a result"):
        story.send(ToolResultDraft(call_id))
    story.confirm(call_id)
    assert story.claim() == ["user.tool_confirmation", "session.status_running", "session.thread_status_running", *IDLE]
    assert story.send(ToolResultDraft(call_id, (TextBlock(text="ok"),))) == ["user.tool_result"]
    again = story.decide(SendEvents((ToolResultDraft(call_id, (TextBlock(text="ok"),)),)))
    assert again.record is None
    assert story.claim()[-1] == "span.model_request_start"


def test_a_message_to_a_self_hosted_session_that_waits_names_the_result_first() -> None:
    story = started(toolset(), environment=SelfHostedConfig())
    story.reply(call("bash"))
    with pytest.raises(InvalidRequest, match=r"only `user.tool_result`"):
        story.send(message())


def test_effects_have_an_identity_each() -> None:
    effects: list[Effect] = [
        TakeInput(),
        BeginRequest(1),
        BeginRequest(2),
        CompactContext(EventId("a")),
        RunTool(EventId("b"), "n", {}),
    ]
    assert len({effect_key(effect) for effect in effects}) == len(effects)


def test_ids_are_told_apart_from_texts() -> None:
    assert parse_session_id("session_abc") == "sesn_abc"
    assert parse_session_id("sesn_a.b") is None
    assert not is_well_formed("agent_", "agent_")


def test_a_claim_on_running_work_is_a_new_claim() -> None:
    story = started()
    first = story.claim_id
    story.when(ClaimTurn(ClaimId("claim_x"), BrainId("brain_x")))
    assert story.claim_id != first


def transcript_of(story: Story) -> Transcript:
    transcript = Transcript()
    for record in story.records:
        transcript = extend_all(transcript, record)
    return transcript
