"""Decisions on what clients ask: create, send, update, archive, delete."""

from functools import partial
from typing import Final

from efferent.common.domain.attachments import attached
from efferent.common.domain.budget import ACCEPTED_AT_CAP, is_at_cap
from efferent.common.domain.budget import check_change as check_budget
from efferent.common.domain.commands import (
    AgentPatch,
    ArchiveThread,
    ConfirmationDraft,
    CreateSession,
    CustomToolResultDraft,
    EventDraft,
    InterruptDraft,
    MessageDraft,
    SendEvents,
    SystemDraft,
    ToolResultDraft,
    UpdateSession,
)
from efferent.common.domain.draft import Decision, Draft, Stamp, begin
from efferent.common.domain.events import (
    InputQueued,
    MetadataCleared,
    RepositoryTokensSealed,
    RequestAccepted,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionUpdated,
    SkillsPinned,
    SystemMessage,
    UserCustomToolResult,
    UserInterrupt,
    UserMessage,
    UserToolConfirmation,
    UserToolResult,
)
from efferent.common.domain.events.user import ClientEvent, QueuedInput
from efferent.common.domain.evolve import confirmation_digest, result_digest
from efferent.common.domain.ids import EventId
from efferent.common.domain.model_catalog import refuses_system_messages
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.state import (
    AwaitingConfirmation,
    AwaitingResult,
    Runner,
    SessionState,
    Terminated,
    ToolCall,
    blockers,
    is_idle_at_cap,
    is_waiting_for_client,
    shown_status,
)
from efferent.common.domain.turn_events import say_terminated

QUEUE_MAX: Final = 1_000
"""Client events that may wait in one session."""
METADATA_PAIRS_MAX: Final = 16


def create(command: CreateSession, stamp: Stamp) -> Decision:
    """Begin a session; initial events are queued in the same record."""
    draft = begin(
        stamp,
        lambda id, at: SessionCreated(
            id=id,
            session_id=command.session_id,
            workspace_id=command.workspace_id,
            primary_thread_id=command.primary_thread_id,
            agent=command.agent,
            environment_id=command.environment_id,
            environment_config=command.environment_config,
            title=command.title,
            metadata=command.metadata,
            vault_ids=command.vault_ids,
            deployment_id=command.deployment_id,
            budget=command.budget,
            processed_at=at,
        ),
    )
    for attachment in command.resources:
        draft.add(partial(attached, attachment))
    sealed = command.sealed_tokens
    if sealed is not None:
        draft.add(lambda id, at: RepositoryTokensSealed(id=id, sealed=sealed, processed_at=at))
    if command.skills:
        draft.add(lambda id, at: SkillsPinned(id=id, skills=command.skills, processed_at=at))
    echoes = tuple(_accept(draft, index, event) for index, event in enumerate(command.initial_events))
    return draft.decision(echoes)


def send(state: SessionState, command: SendEvents, stamp: Stamp) -> Decision:
    """Accept client events, all or none. Raises InvalidRequest that names the event."""
    for key, event_ids in state.accepted_keys:
        if key == command.idempotency_key:
            return Decision(record=None, state=state, repeats=event_ids)
    refuse_when_over(state)
    if len(state.queue) + len(command.events) > QUEUE_MAX:
        raise InvalidRequest(f"events: at most {QUEUE_MAX} events may wait in a session")
    _refuse_misplaced_system_message(state, command.events)
    draft = Draft(state, stamp)
    echoes = tuple(_accept(draft, index, event) for index, event in enumerate(command.events))
    if command.idempotency_key is not None and draft.entries:
        key, made = command.idempotency_key, tuple(echo.id for echo in echoes)
        draft.add(lambda id, at: RequestAccepted(id=id, idempotency_key=key, event_ids=made, processed_at=at))
    return draft.decision(echoes)


def update(state: SessionState, command: UpdateSession, stamp: Stamp) -> Decision:
    """Change title, metadata, budget or the agent's tools; without an effective change nothing is recorded."""
    refuse_when_over(state)
    draft = Draft(state, stamp)
    changed: dict[str, object] = {}
    if command.title is not None and command.title.title != state.title:
        changed["title"] = command.title.title
    metadata = _patched(state.metadata, command.metadata)
    if len(metadata) > METADATA_PAIRS_MAX:
        raise InvalidRequest(f"metadata: at most {METADATA_PAIRS_MAX} pairs are allowed")
    if metadata != state.metadata and metadata:
        changed["metadata"] = metadata
    if command.agent is not None:
        agent = _patched_agent(state.agent, command.agent)
        if agent != state.agent:
            if shown_status(state) != "idle":
                raise InvalidRequest("agent: the session must not be running when its agent is updated")
            changed["agent"] = agent
    if command.budget is not None:
        check_budget(state, command.budget.budget, draft.at())
        if command.budget.budget != state.budget:
            changed["budget"] = command.budget.budget
    cleared = bool(state.metadata) and not metadata
    if changed or cleared:
        draft.add(lambda id, at: SessionUpdated.model_validate({**changed, "id": id, "processed_at": at}))
    if cleared:
        draft.add(lambda id, at: MetadataCleared(id=id, processed_at=at))
    return draft.decision()


def archive(state: SessionState, stamp: Stamp) -> Decision:
    """Make the session read-only for good; repeating it changes nothing."""
    draft = Draft(state, stamp)
    if state.archived_at is not None:
        return draft.decision()
    status = shown_status(state)
    if status in ("running", "rescheduling"):
        raise InvalidRequest(
            f'Session {state.session_id} cannot be archived while its status is "{status}". '
            "Only pending or idle sessions may be archived."
        )
    draft.add(lambda id, at: SessionArchived(id=id, processed_at=at))
    if not isinstance(state.status, Terminated):
        say_terminated(draft)
    return draft.decision()


def delete(state: SessionState, stamp: Stamp) -> Decision:
    """Record the last event of the session."""
    if shown_status(state) in ("running", "rescheduling"):
        raise InvalidRequest(
            "Cannot delete session while it is running. Send an interrupt event or wait for the session to complete."
        )
    draft = Draft(state, stamp)
    draft.add(lambda id, at: SessionDeleted(id=id, processed_at=at))
    return draft.decision()


def archive_thread(state: SessionState, command: ArchiveThread, stamp: Stamp) -> Decision:
    """Archive a child thread. The primary thread lives as long as its session (divergence: not documented)."""
    if command.thread_id != state.primary_thread_id:
        raise NotFound("Session thread not found.")
    if shown_status(state) in ("running", "rescheduling"):
        raise InvalidRequest(f"Thread {command.thread_id} is running. Interrupt it before archiving it.")
    raise InvalidRequest("The primary thread cannot be archived; archive the session instead.")


# --- sending --------------------------------------------------------------------------------------------------------


def refuse_when_over(state: SessionState) -> None:
    """Raise InvalidRequest when the session takes no changes any more."""
    if state.archived_at is not None:
        raise InvalidRequest(f"session {state.session_id} is archived")
    if isinstance(state.status, Terminated):
        raise InvalidRequest(f"session {state.session_id} is terminated")


def _refuse_misplaced_system_message(state: SessionState, events: tuple[EventDraft, ...]) -> None:
    for index, event in enumerate(events):
        if not isinstance(event, SystemDraft):
            continue
        if index != len(events) - 1:
            raise InvalidRequest(f"events[{index}]: a system.message must be the last event of a request")
        before = events[index - 1] if index else None
        if before is not None and not isinstance(before, MessageDraft | ToolResultDraft | CustomToolResultDraft):
            raise InvalidRequest(
                f"events[{index}]: a system.message must directly follow a user.message, a user.tool_result or a "
                "user.custom_tool_result"
            )
        is_freed = any(isinstance(earlier, InterruptDraft) for earlier in events[:index])
        is_answer = isinstance(before, ToolResultDraft | CustomToolResultDraft)
        if is_waiting_for_client(state) and not is_freed and not is_answer:
            raise _waiting(state, index, "system.message")


def _accept(draft: Draft, index: int, event: EventDraft) -> ClientEvent:
    match event:
        case MessageDraft(content=content):
            if is_waiting_for_client(draft.state):
                raise _waiting(draft.state, index, "user.message")
            _refuse_at_cap(draft, index, "user.message")
            return _queue(draft, UserMessage(id=draft.id(), content=content))
        case SystemDraft(content=text):
            check_takes_system_message(draft.state.agent, f"events[{index}]")
            _refuse_at_cap(draft, index, "system.message")
            return _queue(draft, SystemMessage(id=draft.id(), content=text))
        case InterruptDraft(session_thread_id=thread_id):
            if thread_id is not None and thread_id != draft.state.primary_thread_id:
                raise NotFound("Session thread not found.")
            interrupt = UserInterrupt(id=draft.id(), session_thread_id=thread_id)
            # Nothing runs that could be stopped, and paused work waits for the budget: ignored, not even recorded.
            is_ignored = is_idle_at_cap(draft.state) and not draft.state.calls
            return interrupt if is_ignored else _queue(draft, interrupt)
        case ConfirmationDraft():
            return _accept_confirmation(draft, index, event)
        case CustomToolResultDraft():
            return _accept_custom_result(draft, index, event)
        case ToolResultDraft():
            return _accept_tool_result(draft, index, event)


def _queue[E: QueuedInput](draft: Draft, event: E) -> E:
    draft.add(lambda id, at: InputQueued(id=id, event=event, processed_at=at))
    return event


def check_takes_system_message(agent: AgentSnapshot, path: str) -> None:
    """Raise InvalidRequest, naming the place, when the agent's model cannot have a system message as an event."""
    model_id = agent.model.id
    if refuses_system_messages(model_id):
        raise InvalidRequest(
            f"Invalid system.message event at {path}: model_does_not_support_mid_conversation_system: the "
            f"model {model_id} takes no system messages in a conversation",
            code="model_does_not_support_mid_conversation_system",
        )


def _refuse_at_cap(draft: Draft, index: int, event_type: str) -> None:
    if is_at_cap(draft.state, draft.at()):
        raise InvalidRequest(
            f"Invalid {event_type} event at events[{index}]: the session has reached its budget; {ACCEPTED_AT_CAP}"
        )


def _waiting(state: SessionState, index: int, event_type: str) -> InvalidRequest:
    ids = ", ".join(blockers(state))
    if isinstance(state.environment_config, SelfHostedConfig):
        allowed = "only `user.tool_result`, `user.tool_confirmation`, `user.custom_tool_result`, or `user.interrupt`"
    else:
        allowed = "only `user.tool_confirmation`, `user.custom_tool_result`, `user.tool_result`, or `user.interrupt`"
    return InvalidRequest(
        f"Invalid {event_type} event at events[{index}]: waiting on responses to events [{ids}]; {allowed} may be sent"
    )


def _accept_confirmation(draft: Draft, index: int, event: ConfirmationDraft) -> UserToolConfirmation:
    given = confirmation_digest(event.result, event.deny_message)
    made = UserToolConfirmation(
        id=draft.id(), tool_use_id=event.tool_use_id, result=event.result, deny_message=event.deny_message
    )
    known = _known_answer(draft.state, index, event.tool_use_id, given)
    if known is not None:
        return made.model_copy(update={"id": known})
    call = draft.state.call(event.tool_use_id)
    if call is None or not isinstance(call.phase, AwaitingConfirmation):
        raise InvalidRequest(
            f"Invalid user.tool_confirmation event at events[{index}]: tool_use_id {event.tool_use_id} does not name "
            "a tool call that waits for a confirmation"
        )
    return _queue(draft, made)


def _accept_custom_result(draft: Draft, index: int, event: CustomToolResultDraft) -> UserCustomToolResult:
    made = UserCustomToolResult(
        id=draft.id(),
        custom_tool_use_id=event.custom_tool_use_id,
        content=event.content,
        is_error=event.is_error,
        processed_at=draft.at(),
    )
    return _accept_result(draft, index, made, "client", "custom_tool_use_id", event.custom_tool_use_id)


def _accept_tool_result(draft: Draft, index: int, event: ToolResultDraft) -> UserToolResult:
    if not isinstance(draft.state.environment_config, SelfHostedConfig):
        raise InvalidRequest(
            f"Invalid user.tool_result event at events[{index}]: only sessions of self_hosted environments take it"
        )
    made = UserToolResult(
        id=draft.id(),
        tool_use_id=event.tool_use_id,
        content=event.content,
        is_error=event.is_error,
        processed_at=draft.at(),
    )
    return _accept_result(draft, index, made, "worker", "tool_use_id", event.tool_use_id)


def _accept_result[E: (UserCustomToolResult, UserToolResult)](
    draft: Draft, index: int, made: E, runner: Runner, field: str, call_id: EventId
) -> E:
    """Results are processed on receipt: the event is public where the client's record stands."""
    known = _known_answer(draft.state, index, call_id, result_digest(made))
    if known is not None:
        return made.model_copy(update={"id": known})
    call = draft.state.call(call_id)
    if call is None or not _waits_for(call, runner):
        raise InvalidRequest(
            f"Invalid {made.type} event at events[{index}]: {field} {call_id} does not name a tool call that waits "
            "for a result"
        )
    return draft.add(lambda _id, _at: made)


def _waits_for(call: ToolCall, runner: Runner) -> bool:
    return call.runner == runner and isinstance(call.phase, AwaitingResult)


def _known_answer(state: SessionState, index: int, call_id: EventId, given: str) -> EventId | None:
    """The event of an equal answer that was accepted before; another answer to the same question is refused.

    A call that waits again (a confirmed call of a worker waits for its result next) is a new question.
    """
    for answer in reversed(state.answers):
        if answer.call_id != call_id:
            continue
        if answer.digest == given:
            return answer.event_id
        call = state.call(call_id)
        if call is not None and isinstance(call.phase, AwaitingResult):
            return None
        raise InvalidRequest(f"events[{index}]: {call_id} was already answered with other content")
    return None


# --- updating -------------------------------------------------------------------------------------------------------


def _patched(metadata: dict[str, str], patch: dict[str, str | None] | None) -> dict[str, str]:
    merged = {**metadata, **(patch or {})}
    return {key: value for key, value in merged.items() if value is not None}


def _patched_agent(agent: AgentSnapshot, patch: AgentPatch) -> AgentSnapshot:
    tools = agent.tools if patch.tools is None else patch.tools
    servers = agent.mcp_servers if patch.mcp_servers is None else patch.mcp_servers
    return agent.model_copy(update={"tools": tools, "mcp_servers": servers})
