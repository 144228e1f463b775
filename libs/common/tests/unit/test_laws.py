"""Laws of the domain, shown on random stories: whatever clients and brains do in whatever order, these hold."""

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efferent.common import codec
from efferent.common.domain.commands import (
    AgentPatch,
    ArchiveSession,
    ClaimTurn,
    Command,
    ConfirmationDraft,
    CustomToolResultDraft,
    InterruptDraft,
    RecordCompaction,
    RecordFailure,
    RecordReply,
    RecordToolResult,
    SendEvents,
    SetTitle,
    StartRequest,
    SystemDraft,
    TakeQueuedInput,
    UpdateSession,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.effects import (
    BeginRequest,
    CompactContext,
    Effect,
    RequestModel,
    RetryLater,
    RunTool,
    TakeInput,
)
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import BrainId, ClaimId, EventId
from efferent.common.domain.react import pending, react
from efferent.common.domain.refusals import Refused
from efferent.common.domain.state import Idle, Rescheduling, Running, Terminated, has_takeable_input
from efferent.common.domain.transcript import Transcript, extend_all
from efferent.common.domain.transitions import TRANSITIONS, StatusName
from efferent.common.domain.usage import ModelUsage
from efferent.common.testing.specification import Story, call, custom_tool, message, say, toolset

CLIENT = ("message", "interrupt", "confirm", "deny", "answer", "system", "title", "tools", "archive", "stale")
BRAIN = ("work", "work", "work", "take_over", "fail", "fail_for_good")
STEPS = st.lists(st.tuples(st.sampled_from(CLIENT + BRAIN), st.integers(0, 5)), min_size=1, max_size=30)
TOOLSETS = st.sampled_from(
    [(), (toolset(),), (toolset("always_ask"), custom_tool()), (toolset(), custom_tool()), (toolset("auto"),)]
)
REPLIES = (
    (say("text"),),
    (call("bash"),),
    (call("bash"), call("ask_human")),
    (say("text"), call("read"), call("web_fetch")),
    (),
    (call("ask_human"), call("ask_human")),
)


def client_command(story: Story, kind: str, number: int) -> Command:
    ids = [item.id for item in story.state.calls] or [EventId("sevt_none")]
    target = ids[number % len(ids)]
    match kind:
        case "message":
            return SendEvents((message(),))
        case "interrupt":
            return SendEvents((InterruptDraft(),))
        case "confirm":
            return SendEvents((ConfirmationDraft(target, "allow"),))
        case "deny":
            return SendEvents((ConfirmationDraft(target, "deny", "no"),))
        case "answer":
            return SendEvents((CustomToolResultDraft(target, (TextBlock(text=str(number)),)),))
        case "system":
            return SendEvents((message(), SystemDraft((TextBlock(text="s"),))))
        case "title":
            return UpdateSession(title=SetTitle(str(number)))
        case "tools":
            return UpdateSession(agent=AgentPatch(tools=(toolset(),)))
        case "archive" if number == 5:
            return ArchiveSession()
        case _:
            return RecordReply(ClaimId("claim_stale"), target, "m", (), ModelUsage(), None)


def brain_command(story: Story, effect: Effect, kind: str, number: int) -> Command:
    claim_id = story.state.claim.claim_id if story.state.claim else ClaimId(f"claim_{len(story.records)}")
    if kind == "take_over" or story.state.claim is None:
        return ClaimTurn(ClaimId(f"claim_{len(story.records)}"), BrainId(f"brain_{number}"))
    match effect:
        case TakeInput():
            return TakeQueuedInput(claim_id)
        case RequestModel(span_id=span_id):
            if kind == "work":
                due = number == 5
                return RecordReply(claim_id, span_id, "m", REPLIES[number], ModelUsage(), 1, compaction_due=due)
            verdict: Any = "terminal" if kind == "fail_for_good" and number == 5 else "retryable"
            return RecordFailure(claim_id, span_id, "model_overloaded", verdict, "no", 1_000)
        case RunTool(call_id=call_id):
            return RecordToolResult(claim_id, call_id, (TextBlock(text="ok"),), is_error=False)
        case CompactContext(up_to=up_to):
            return RecordCompaction(claim_id, "short", up_to, ModelUsage(), "m", None)
        case RetryLater() | BeginRequest():
            return StartRequest(claim_id)


def play(tools: Any, steps: list[tuple[str, int]]) -> Story:
    story = Story(tools=tools).create()
    for kind, number in steps:
        effects = story.pending_effects()
        if kind in CLIENT:
            command = client_command(story, kind, number)
        elif effects:
            command = brain_command(story, effects[number % len(effects)], kind, number)
        else:
            continue
        try:
            story.when(command)
        except Refused:
            continue
    return story


laws = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@laws
@given(TOOLSETS, STEPS)
def test_the_fold_of_the_log_is_the_state_that_was_decided(tools: Any, steps: list[tuple[str, int]]) -> None:
    story = play(tools, steps)
    stored = [codec.decode(codec.encode(record)) for record in story.records]
    assert stored == story.records
    assert fold(None, stored) == story.state
    for cut in range(len(stored)):
        assert fold(fold(None, stored[:cut]), stored[cut:]) == story.state


@laws
@given(TOOLSETS, STEPS)
def test_every_call_has_at_most_one_result_and_exactly_one_when_nothing_is_open(
    tools: Any, steps: list[tuple[str, int]]
) -> None:
    story = play(tools, steps)
    uses = [e.id for e in story.events if e.type in ("agent.tool_use", "agent.custom_tool_use")]
    results = [e.tool_use_id for e in story.events if e.type == "agent.tool_result"]
    results += [e.custom_tool_use_id for e in story.events if e.type == "user.custom_tool_result"]
    assert len(results) == len(set(results))
    open_calls = {item.id for item in story.state.calls}
    if not isinstance(story.state.status, Terminated):
        assert set(uses) == set(results) | open_calls
    assert len({event.id for event in story.events if event.type in story.types}) <= len(story.types)


@laws
@given(TOOLSETS, STEPS)
def test_statuses_follow_the_table_and_idle_says_why(tools: Any, steps: list[tuple[str, int]]) -> None:
    status: StatusName = "idle"
    for event in play(tools, steps).events:
        match event.type:
            case (
                "session.status_running"
                | "session.status_idle"
                | "session.status_rescheduled"
                | "session.status_terminated"
            ):
                status = TRANSITIONS[status, event.type]
            case _:
                pass


@laws
@given(TOOLSETS, STEPS)
def test_work_never_gets_stuck(tools: Any, steps: list[tuple[str, int]]) -> None:
    """A session that is not waiting for its client always has something pending, and working it off ends the turn."""
    story = play(tools, steps)
    for _ in range(60):
        effects = story.pending_effects()
        if not effects:
            break
        story.when(brain_command(story, effects[0], "work", 0))
    assert story.pending_effects() == ()
    assert isinstance(story.state.status, Idle | Terminated)
    assert not has_takeable_input(story.state)
    assert story.state.claim is None


@laws
@given(TOOLSETS, STEPS)
def test_everything_acknowledged_is_shown(tools: Any, steps: list[tuple[str, int]]) -> None:
    """Every queued event is repeated exactly once, or still waits, or went down with a terminated session."""
    story = play(tools, steps)
    queued = [event.event.id for event in story.events if event.type == "internal.input_queued"]
    shown = [
        event.id for event in story.events if event.id in queued and event.type.split(".")[0] in ("user", "system")
    ]
    assert len(shown) == len(set(shown))
    waiting = {item.id for item in story.state.queue}
    if not isinstance(story.state.status, Terminated):
        assert set(queued) == set(shown) | waiting


@laws
@given(TOOLSETS, STEPS)
def test_the_transcript_is_a_valid_conversation(tools: Any, steps: list[tuple[str, int]]) -> None:
    """Roles alternate, and each call of the model is answered in the very next message once the turn goes on."""
    story = play(tools, steps)
    transcript = Transcript()
    for record in story.records:
        transcript = extend_all(transcript, record)
    roles = [item.role for item in transcript.messages if item.role != "system"]
    assert all(first != second for first, second in pairwise(roles) if first == "assistant")


@laws
@given(TOOLSETS, STEPS)
def test_react_names_exactly_the_new_effects(tools: Any, steps: list[tuple[str, int]]) -> None:
    state = None
    for record in play(tools, steps).records:
        for entry in record.entries:
            before = pending(state)
            new = react(state, entry.event)
            state = fold(state, (record.model_copy(update={"entries": (entry,)}),))
            assert set(map(repr, new)) == set(map(repr, pending(state))) - set(map(repr, before))


def test_the_states_by_name_are_the_table_s() -> None:
    names = {name for name, _ in TRANSITIONS} | set(TRANSITIONS.values())
    assert names == {Idle.__dataclass_fields__["name"].default, "running", "rescheduling", "terminated"}
    assert Running(since="").name == "running"  # type: ignore[arg-type]
    assert Rescheduling("", 0, 0).name == "rescheduling"  # type: ignore[arg-type]
