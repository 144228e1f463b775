"""What clients may ask of a session, and what they are refused."""

import pytest

from efferent.common.domain.commands import (
    AgentPatch,
    ArchiveSession,
    ArchiveThread,
    ConfirmationDraft,
    CustomToolResultDraft,
    DeleteSession,
    EventDraft,
    InterruptDraft,
    SendEvents,
    SetTitle,
    SystemDraft,
    ToolResultDraft,
    UpdateSession,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.decide_client import QUEUE_MAX
from efferent.common.domain.events import SessionUpdated
from efferent.common.domain.ids import EventId, ThreadId
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.state import shown_status
from efferent.common.testing.specification import Story, call, custom_tool, message, say, toolset


def blocked(*tools: object, name: str = "bash") -> tuple[Story, EventId]:
    story = Story(tools=tools).create()  # type: ignore[arg-type]
    story.send(message())
    story.claim()
    story.reply(call(name))
    return story, story.state.calls[0].id


def test_a_session_with_initial_events_is_never_idle() -> None:
    assert shown_status(Story().create(message()).state) == "running"


def test_a_refused_request_records_none_of_its_events() -> None:
    story = Story().create()
    with pytest.raises(InvalidRequest, match=r"events\[1\]"):
        story.send(message(), ConfirmationDraft(EventId("sevt_x"), "allow"))
    assert story.state.queue == ()


def test_a_confirmation_sent_again_is_the_same_event() -> None:
    story, call_id = blocked(toolset("always_ask"))
    story.confirm(call_id)
    queued = story.state.queue
    again = story.decide(_send(ConfirmationDraft(call_id, "allow")))
    assert again.record is None
    assert again.echoes[0].id == queued[0].id


def test_another_answer_to_an_answered_call_is_refused() -> None:
    story, call_id = blocked(toolset("always_ask"))
    story.confirm(call_id)
    with pytest.raises(InvalidRequest, match="already answered"):
        story.confirm(call_id, deny="no")


def test_a_custom_result_sent_again_is_the_same_event_also_after_the_turn() -> None:
    story, call_id = blocked(custom_tool(), name="ask_human")
    first = story.decide(_send(CustomToolResultDraft(call_id, (TextBlock(text="42"),))))
    story.claim()
    story.reply(say("thanks"))
    again = story.decide(_send(CustomToolResultDraft(call_id, (TextBlock(text="42"),))))
    assert again.record is None
    assert again.echoes[0].id == first.echoes[0].id


def test_a_result_for_a_call_that_was_never_made_is_refused() -> None:
    story, _ = blocked(custom_tool(), name="ask_human")
    with pytest.raises(InvalidRequest, match="sevt_never"):
        story.answer(EventId("sevt_never"))


def test_a_confirmation_of_an_allowed_call_is_refused() -> None:
    story, call_id = blocked(toolset())
    with pytest.raises(InvalidRequest, match="waits for a confirmation"):
        story.confirm(call_id)


def test_tool_results_are_for_self_hosted_environments_only() -> None:
    story, call_id = blocked(toolset())
    with pytest.raises(InvalidRequest, match="self_hosted"):
        story.send(ToolResultDraft(call_id))


def test_an_idempotency_key_returns_the_first_answer() -> None:
    story = Story().create()
    first = story.decide(_send(message(), key="k1"))
    again = story.decide(_send(message("something else"), key="k1"))
    assert again.record is None
    assert again.repeats == (first.echoes[0].id,)


def test_the_queue_is_limited() -> None:
    story = Story().create()
    story.send(*(message() for _ in range(QUEUE_MAX)))
    with pytest.raises(InvalidRequest, match=str(QUEUE_MAX)):
        story.send(message())


def test_a_system_message_must_be_last_and_follow_its_message() -> None:
    system = SystemDraft((TextBlock(text="s"),))
    story = Story().create()
    with pytest.raises(InvalidRequest, match="last event"):
        story.send(system, message())
    with pytest.raises(InvalidRequest, match="directly follow"):
        story.send(InterruptDraft(), system)
    story.send(message(), system)
    assert story.claim()[2:4] == ["user.message", "system.message"]


@pytest.mark.parametrize(
    ("model_id", "is_refused"),
    [("claude-sonnet-5", True), ("claude-haiku-4-5", True), ("claude-sonnet-5-5", False), ("ollama/any", False)],
)
def test_a_model_that_cannot_have_a_system_message_in_a_conversation_refuses_it(
    model_id: str, is_refused: bool
) -> None:
    story = Story(model_id=model_id).create()
    sent = (message(), SystemDraft((TextBlock(text="s"),)))
    if not is_refused:
        story.send(*sent)
        return
    with pytest.raises(InvalidRequest, match=f"events.1.: .*{model_id} takes no system") as refused:
        story.send(*sent)
    assert refused.value.code == "model_does_not_support_mid_conversation_system"
    assert not story.state.queue


def test_a_system_message_alone_is_taken_in_without_a_turn() -> None:
    story = Story().create()
    story.send(SystemDraft((TextBlock(text="s"),)))
    assert shown_status(story.state) == "idle"
    assert story.claim() == ["system.message"]
    assert story.pending_effects() == ()


def test_an_interrupt_of_an_unknown_thread_is_not_found() -> None:
    with pytest.raises(NotFound):
        Story().create().send(InterruptDraft(ThreadId("sthr_other")))


def test_an_update_says_only_what_changed() -> None:
    story = Story().create()
    assert story.when(UpdateSession(title=SetTitle("t"), metadata={"a": "1"})) == ["session.updated"]
    event = story.events[-1]
    assert isinstance(event, SessionUpdated)
    written = event.model_dump()
    assert written["title"] == "t"
    assert written["metadata"] == {"a": "1"}
    assert "agent" not in written
    assert "budget" not in written


def test_an_update_without_effect_records_nothing() -> None:
    story = Story().create()
    story.when(UpdateSession(title=SetTitle("t")))
    assert story.when(UpdateSession(title=SetTitle("t"), metadata={})) == []


def test_clearing_the_last_metadata_pair_leaves_it_out_of_the_event() -> None:
    story = Story().create()
    story.when(UpdateSession(metadata={"a": "1"}))
    assert story.when(UpdateSession(metadata={"a": None})) == ["session.updated"]
    assert story.state.metadata == {}
    updated = [event for event in story.events if isinstance(event, SessionUpdated)][-1]
    assert "metadata" not in updated.model_dump()


def test_too_many_metadata_pairs_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="16"):
        Story().create().when(UpdateSession(metadata={str(n): "x" for n in range(17)}))


def test_the_agent_of_a_running_session_cannot_change() -> None:
    story = Story().create(message())
    with pytest.raises(InvalidRequest, match="must not be running"):
        story.when(UpdateSession(agent=AgentPatch(tools=(toolset(),))))


def test_archive_ends_an_idle_session_for_good() -> None:
    story = Story().create()
    assert story.when(ArchiveSession()) == ["session.thread_status_terminated", "session.status_terminated"]
    assert story.state.archived_at is not None
    assert story.when(ArchiveSession()) == []
    with pytest.raises(InvalidRequest, match="is archived"):
        story.send(message())


def test_archive_is_possible_while_the_client_is_asked() -> None:
    story, _ = blocked(toolset("always_ask"))
    assert story.when(ArchiveSession())[-1] == "session.status_terminated"


def test_a_session_with_input_that_is_not_taken_in_counts_as_running() -> None:
    story = Story().create(message())
    with pytest.raises(InvalidRequest, match='status is "running"'):
        story.when(ArchiveSession())
    with pytest.raises(InvalidRequest, match="Cannot delete session while it is running"):
        story.when(DeleteSession())


def test_after_delete_there_is_no_session() -> None:
    story = Story().create()
    assert story.when(DeleteSession()) == ["session.deleted"]
    with pytest.raises(NotFound):
        story.send(message())


def test_threads_other_than_the_primary_do_not_exist_and_it_cannot_be_archived_alone() -> None:
    story = Story().create()
    with pytest.raises(NotFound):
        story.when(ArchiveThread(ThreadId("sthr_other")))
    with pytest.raises(InvalidRequest, match="archive the session"):
        story.when(ArchiveThread(story.state.primary_thread_id))


def _send(event: EventDraft, key: str | None = None) -> SendEvents:
    return SendEvents((event,), idempotency_key=key)
