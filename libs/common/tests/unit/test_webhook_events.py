"""Which webhook events records cause: names, ids, what is left out. Pure."""

from typing import get_args

import pytest
from anthropic.types.beta import beta_webhook_event_data

from efferent.common.domain.commands import ArchiveSession, SetTitle, UpdateSession
from efferent.common.domain.events import (
    SessionStatusIdle,
    SessionThreadCreated,
    SessionThreadStatusIdle,
    SessionThreadStatusTerminated,
    SessionUsage,
    SpanOutcomeEvaluationEnd,
)
from efferent.common.domain.events.stop import BudgetReached, EndTurn
from efferent.common.domain.ids import EnvironmentId, EventId, RecordId, SessionId, ThreadId, WorkspaceId
from efferent.common.domain.record import Entry, Record
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit, ModelUsage, Money, Usage
from efferent.common.domain.webhook_events import (
    ControlFact,
    SessionOrigin,
    WebhookEvent,
    of_control,
    of_session,
    reached_budget,
)
from efferent.common.domain.webhook_types import CONTROL_TYPES, WEBHOOK_TYPES, ControlWebhookType
from efferent.common.testing.specification import Story, call, message, say, toolset

AT = Timestamp("2026-01-01T00:00:00.000000Z")
SESSION, PRIMARY, CHILD = SessionId("sesn_1"), ThreadId("sthr_1"), ThreadId("sthr_2")
WORKSPACE = WorkspaceId("wrkspc_1")
ORIGIN = SessionOrigin(WORKSPACE, PRIMARY, EnvironmentId("env_1"), is_self_hosted=False)


def events_of(record: Record) -> list[WebhookEvent]:
    return list(of_session(record, SESSION, ORIGIN, "org"))


def types_of(record: Record) -> list[str]:
    return [event.data.type for event in events_of(record)]


def of_story(story: Story) -> list[list[str]]:
    """The types that each record of a story causes, without records that cause none."""
    return [types for record in story.records if (types := types_of(record))]


def record(*events: object) -> Record:
    return Record(id=RecordId("rec_1"), entries=tuple(Entry(event=event) for event in events))


def test_a_turn_is_a_start_and_an_end() -> None:
    story = Story().create()
    story.send(message())
    story.claim()
    story.reply(say("hi"))
    assert of_story(story) == [
        ["session.created"],
        ["session.status_run_started", "session.running"],
        ["session.status_idled", "session.idled"],
    ]


def test_a_turn_that_waits_for_the_client_says_so() -> None:
    story = Story(tools=(toolset("always_ask"),)).create()
    story.send(message())
    story.claim()
    story.reply(call())
    assert of_story(story)[-1] == ["session.status_idled", "session.idled", "session.requires_action"]


def test_a_retry_is_a_rescheduling_and_another_start() -> None:
    story = Story().create()
    story.send(message())
    story.claim()
    story.fail()
    story.retry()
    assert of_story(story)[2:] == [
        ["session.status_rescheduled"],
        ["session.status_run_started", "session.running"],
    ]


def test_an_error_without_remedy_terminates() -> None:
    story = Story().create()
    story.send(message())
    story.claim()
    story.fail("terminal")
    assert "session.status_terminated" in of_story(story)[-1]


def test_an_update_and_an_archive_are_reported_and_their_repetition_is_not() -> None:
    story = Story().create()
    story.when(UpdateSession(title=SetTitle("t")))
    story.when(UpdateSession(title=SetTitle("t")))
    story.when(ArchiveSession())
    story.when(ArchiveSession())
    assert of_story(story)[1:] == [["session.updated"], ["session.archived", "session.status_terminated"]]


def test_threads_are_reported_for_children_only() -> None:
    def of(thread: ThreadId) -> list[str]:
        made = SessionThreadCreated(id=EventId("sevt_1"), session_thread_id=thread, agent_name="a", processed_at=AT)
        idle = SessionThreadStatusIdle(
            id=EventId("sevt_2"), session_thread_id=thread, agent_name="a", stop_reason=EndTurn(), processed_at=AT
        )
        over = SessionThreadStatusTerminated(
            id=EventId("sevt_3"), session_thread_id=thread, agent_name="a", processed_at=AT
        )
        events = events_of(record(made, idle, over))
        assert {event.data.session_thread_id for event in events} <= {thread}
        assert {event.data.id for event in events} <= {SESSION}
        return [event.data.type for event in events]

    assert of(PRIMARY) == []
    assert of(CHILD) == ["session.thread_created", "session.thread_idled", "session.thread_terminated"]


def test_the_end_of_an_outcome_evaluation_is_reported() -> None:
    ended = SpanOutcomeEvaluationEnd(
        id=EventId("sevt_1"),
        outcome_evaluation_start_id="sevt_0",
        outcome_id="outc_1",
        iteration=1,
        result="satisfied",
        explanation="",
        usage=ModelUsage(),
        processed_at=AT,
    )
    assert types_of(record(ended)) == ["session.outcome_evaluation_ended"]


def _stopped_at(cents: int, event_id: str) -> Record:
    usage = SessionUsage(
        id=EventId(f"{event_id}u"),
        usage=Usage(),
        budget=BudgetLimit(max_list_cost=Money(amount=str(cents))),
        processed_at=AT,
    )
    return record(usage, SessionStatusIdle(id=EventId(event_id), stop_reason=BudgetReached(), processed_at=AT))


def test_a_reached_budget_has_one_event_id_per_amount() -> None:
    def event_id(stopped: Record) -> str:
        [event] = [event for event in events_of(stopped) if event.data.type == "session.budget_reached"]
        return event.id

    again, raised = _stopped_at(100, "sevt_b"), _stopped_at(200, "sevt_c")
    budget = reached_budget(again)
    assert budget is not None
    assert budget.max_list_cost.amount == "100"
    assert event_id(_stopped_at(100, "sevt_a")) == event_id(again) != event_id(raised)
    assert reached_budget(Story().create().records[0]) is None


def test_the_same_record_always_gives_the_same_ids_and_no_two_events_share_one() -> None:
    story = Story(tools=(toolset("always_ask"),)).create()
    story.send(message())
    story.claim()
    story.reply(call())
    once = [event for made in story.records for event in events_of(made)]
    again = [event for made in story.records for event in events_of(made)]
    assert once == again
    assert len({event.id for event in once}) == len(once)


@pytest.mark.parametrize("type_", get_args(ControlWebhookType))
def test_a_control_record_is_its_own_event(type_: str) -> None:
    fact = ControlFact(type_, AT, WORKSPACE, "x_1", vault_id="vlt_1" if type_.startswith("vault_c") else None)
    events = of_control(fact, "org")
    assert events == of_control(fact, "org")
    if type_ == "deployment_run.started":
        assert events == ()
        return
    event = events[-1]
    assert [event.data.type for event in events[:-1]] == (
        ["deployment_run.started"] if type_.startswith("deployment_run.") else []
    )
    assert len({event.id for event in events}) == len(events)
    assert (event.data.type, event.data.id, event.data.workspace_id) == (type_, "x_1", WORKSPACE)
    assert (b'"vault_id":"vlt_1"' in event.body()) == type_.startswith("vault_c")
    assert b"null" not in event.body()


def test_runs_that_a_client_started_and_other_records_cause_nothing() -> None:
    assert of_control(ControlFact("deployment_run.failed", AT, WORKSPACE, "drun_1", is_scheduled=False), "org") == ()
    for other in ("api_key.created", "memory_store.updated", "vault.updated", "webhook_endpoint.created"):
        assert of_control(ControlFact(other, AT, WORKSPACE, "x_1"), "org") == ()


def test_the_types_are_those_that_the_official_client_knows() -> None:
    known = set()
    for data in get_args(get_args(beta_webhook_event_data.BetaWebhookEventData)[0]):
        known.add(get_args(data.model_fields["type"].annotation)[0])
    assert set(WEBHOOK_TYPES) == known
    assert set(WEBHOOK_TYPES) >= CONTROL_TYPES
