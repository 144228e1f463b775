"""``evolve``: folds one event into the state. Total and boring: no clock, no I/O, never raises on a stored fact."""

import hashlib
from collections.abc import Iterable
from typing import Final

from efferent.common.domain.events import (
    AgentToolUse,
    InputQueued,
    InternalEvent,
    PublicEvent,
    RepositoryTokensSealed,
    RetryScheduled,
    SessionCreated,
    SessionUpdated,
    SpanModelRequestEnd,
    UserCustomToolResult,
    UserToolConfirmation,
    UserToolResult,
)
from efferent.common.domain.events.stop import RepositoryCloneError
from efferent.common.domain.events.user import QueuedInput
from efferent.common.domain.ids import EventId
from efferent.common.domain.record import Record
from efferent.common.domain.replacing import change, replace
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.resources.session_resource import id_of
from efferent.common.domain.state import (
    ANSWERS_MAX,
    IDEMPOTENCY_KEYS_MAX,
    Answer,
    Attached,
    AwaitingConfirmation,
    AwaitingResult,
    CallPhase,
    Claim,
    Denied,
    Idle,
    Rescheduling,
    Runnable,
    Runner,
    Running,
    SessionState,
    Terminated,
    ToolCall,
    Totals,
)
from efferent.common.domain.timestamp import Timestamp, seconds_between

_NEVER: Final = Timestamp("")


def fold(state: SessionState | None, records: Iterable[Record]) -> SessionState | None:
    """Fold whole records, in order."""
    return fold_events(state, (entry.event for record in records for entry in record.entries))


def fold_events(
    state: SessionState | None, events: Iterable[PublicEvent | InternalEvent], *, until: Timestamp = _NEVER
) -> SessionState | None:
    """Fold events, in order: the same as ``evolve`` for each, but the state is copied once.

    ``until``: when the last of those facts happened that are left out because they only tell the time.
    """
    state, latest = _own(state), _NEVER
    for event in events:
        if event.type == "internal.session_created":
            state, latest = _created(event), _NEVER
        elif state is not None:
            state = _changed(state, event)
            if event.processed_at is not None and event.processed_at > latest:
                latest = event.processed_at
    if state is None:
        return None
    if latest < until:
        latest = until
    return change(state, last_at=latest) if latest > state.last_at else state


def evolve(state: SessionState | None, event: PublicEvent | InternalEvent) -> SessionState | None:
    """The state after the event. Before ``internal.session_created`` there is no state, and facts change nothing."""
    return fold_events(state, (event,))


def _own(state: SessionState | None) -> SessionState | None:
    """A copy that everything below may ``change``; the state that was given in stays as it is."""
    return None if state is None else replace(state)


def _created(event: SessionCreated) -> SessionState:
    return SessionState(
        session_id=event.session_id,
        workspace_id=event.workspace_id,
        primary_thread_id=event.primary_thread_id,
        agent=event.agent,
        environment_id=event.environment_id,
        environment_config=event.environment_config,
        title=event.title,
        metadata=event.metadata,
        vault_ids=event.vault_ids,
        deployment_id=event.deployment_id,
        budget=event.budget,
        created_at=event.processed_at,
        updated_at=event.processed_at,
        last_at=event.processed_at,
    )


def _changed(state: SessionState, event: PublicEvent | InternalEvent) -> SessionState:  # one case per fact
    match event.type:
        # By name: asking a model's class costs half a microsecond for each one that it is not.
        case "span.model_request_start":
            return _span(state, event.id)
        case "span.model_request_end":
            return _span_ended(state, event)
        case "internal.model_request_priced":
            return change(state, totals=_priced(state.totals, event.list_cost_micro_usd))
        case "session.thread_status_running" | "session.thread_status_idle" | "session.usage":
            return state
        case "internal.input_queued":
            return _queued(state, event)
        case "internal.turn_claimed":
            claim = Claim(claim_id=event.claim_id, brain_id=event.brain_id)
            return change(state, claim=claim, stalled_claims=state.stalled_claims + 1)
        case "user.message" | "system.message":
            return change(state, queue=_without(state.queue, event.id), last_context_event=event.id)
        case "agent.message":
            return change(state, compactions=0, last_context_event=event.id)
        case "agent.tool_use":
            return _called(state, event.id, ToolCall(event.id, event.name, event.input, *_placed(state, event)))
        case "agent.tool_result":
            return _settled(state, event.tool_use_id, event.id)
        case "session.status_running":
            return _running(state, event.processed_at)
        case "session.status_idle":
            return change(
                state,
                totals=_turn_ended(state, event.processed_at),
                status=Idle(event.stop_reason),
                is_paused=False,
                claim=None,
                stalled_claims=0,
                updated_at=event.processed_at,
            )
        case "internal.work_paused":
            return change(state, is_paused=True)
        case "internal.request_accepted":
            kept = (*state.accepted_keys, (event.idempotency_key, event.event_ids))
            return change(state, accepted_keys=kept[-IDEMPOTENCY_KEYS_MAX:])
        case "internal.retry_scheduled":
            return _rescheduled(state, event)
        case "session.status_terminated":
            return change(
                state,
                totals=_turn_ended(state, event.processed_at),
                status=Terminated(event.processed_at),
                claim=None,
                calls=(),
                queue=(),
                updated_at=event.processed_at,
            )
        case "internal.session_archived":
            return change(state, archived_at=event.processed_at)
        case "internal.metadata_cleared":
            return change(state, metadata={}, updated_at=event.processed_at)
        case "session.updated":
            return _updated(state, event)
        case "session.deleted":
            return change(state, deleted=True, queue=(), calls=(), claim=None)
        case "user.interrupt":
            return _dequeued(state, event.id)
        case "user.tool_confirmation":
            return _confirmed(_dequeued(state, event.id), event)
        case "agent.mcp_tool_use":
            phase: CallPhase = AwaitingConfirmation() if event.evaluated_permission == "ask" else Runnable()
            return _called(state, event.id, ToolCall(event.id, event.name, event.input, "mcp", phase))
        case "agent.custom_tool_use":
            return _called(state, event.id, ToolCall(event.id, event.name, event.input, "client", AwaitingResult()))
        case "agent.mcp_tool_result":
            return _settled(state, event.mcp_tool_use_id, event.id)
        case "user.custom_tool_result":
            return _answered(_settled(state, event.custom_tool_use_id, event.id), event.custom_tool_use_id, event)
        case "user.tool_result":
            return _answered(_settled(state, event.tool_use_id, event.id), event.tool_use_id, event)
        case "internal.compaction_due":
            return change(state, compaction_due=True)
        case "internal.context_compacted":
            return change(state, compaction_due=False, compactions=state.compactions + 1)
        case "internal.resource_attached":
            held = Attached(event.resource, event.content)
            return change(state, resources=(*state.resources, held), updated_at=event.processed_at)
        case "internal.resource_removed":
            kept_resources = tuple(held for held in state.resources if id_of(held.resource) != event.resource_id)
            return change(state, resources=kept_resources, updated_at=event.processed_at)
        case "internal.repository_tokens_sealed":
            return _tokens_sealed(state, event)
        case "internal.skills_pinned":
            return change(state, skills=event.skills)
        case "session.error":
            is_repository = isinstance(event.error, RepositoryCloneError)
            return change(state, repositories_failed=True) if is_repository else state
        case (
            "internal.model_thought"
            | "agent.thinking"
            | "agent.thread_context_compacted"
            | "agent.thread_message_received"
            | "agent.thread_message_sent"
            | "session.status_rescheduled"
            | "session.thread_created"
            | "session.thread_status_rescheduled"
            | "session.thread_status_terminated"
            | "span.outcome_evaluation_start"
            | "span.outcome_evaluation_ongoing"
            | "span.outcome_evaluation_end"
            | "user.define_outcome"
            | "workflow_run.created"
            | "workflow_run.status_running"
            | "workflow_run.status_idle"
            | "workflow_run.status_ended"
            | "workflow_run.error"
            | "workflow_run.phase_started"
            | "workflow_run.phase_ended"
            | "internal.session_created"
        ):
            return state


def digest(*parts: str) -> str:
    """A short digest by which an answer that is sent again is recognised."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def confirmation_digest(result: str, deny_message: str | None) -> str:
    """Digest of a confirmation."""
    return digest("confirmation", result, deny_message or "")


def result_digest(event: UserCustomToolResult | UserToolResult) -> str:
    """Digest of a result, over its content and its error mark."""
    return digest("result", str(bool(event.is_error)), *(block.model_dump_json() for block in event.content))


def _queued(state: SessionState, event: InputQueued) -> SessionState:
    state = change(state, queue=(*state.queue, event.event))
    if event.event.type == "user.tool_confirmation":
        answer = event.event
        known = Answer(
            answer.tool_use_id, answer.id, confirmation_digest(answer.result, answer.deny_message), answer.processed_at
        )
        return change(state, answers=(*state.answers, known)[-ANSWERS_MAX:])
    return state


def _dequeued(state: SessionState, event_id: EventId) -> SessionState:
    remaining = _without(state.queue, event_id)
    return state if len(remaining) == len(state.queue) else change(state, queue=remaining)


def _without(queue: tuple[QueuedInput, ...], event_id: EventId) -> tuple[QueuedInput, ...]:
    return tuple([item for item in queue if item.id != event_id])


def _running(state: SessionState, at: Timestamp) -> SessionState:
    match state.status:
        case Running():
            return state
        case Rescheduling(rounds=rounds, failures=failures):
            return change(state, status=Running(since=at, rounds=rounds, failures=failures))
        case Idle() if state.is_paused:
            return change(state, status=Running(since=at), is_paused=False)
        case Idle(stop_reason=reason) if reason is not None and reason.type == "requires_action":
            return change(state, status=Running(since=at))
        case Idle() | Terminated():
            return change(state, status=Running(since=at), compactions=0)


def _priced(totals: Totals, list_cost_micro_usd: int | None) -> Totals:
    if list_cost_micro_usd is None:
        return replace(totals, has_unpriced=True)
    return replace(totals, list_cost_micro_usd=totals.list_cost_micro_usd + list_cost_micro_usd)


def _turn_ended(state: SessionState, at: Timestamp) -> Totals:
    worked = seconds_between(state.status.since, at) if isinstance(state.status, Running) else 0.0
    ended, active = state.totals.turns_ended + 1, state.totals.active_seconds + worked
    return replace(state.totals, turns_ended=ended, active_seconds=active)


def _rescheduled(state: SessionState, event: RetryScheduled) -> SessionState:
    if not isinstance(state.status, Running):
        return state
    totals = replace(_turn_ended(state, event.processed_at), turns_ended=state.totals.turns_ended)
    waiting = Rescheduling(not_before=event.not_before, rounds=state.status.rounds, failures=state.status.failures + 1)
    return change(state, status=waiting, totals=totals)


def _span(state: SessionState, span_id: EventId | None) -> SessionState:
    if isinstance(state.status, Running):
        return change(state, status=replace(state.status, span_id=span_id))
    return state


def _span_ended(state: SessionState, event: SpanModelRequestEnd) -> SessionState:
    used = event.model_usage
    totals = replace(
        state.totals,
        input_tokens=state.totals.input_tokens + used.input_tokens,
        output_tokens=state.totals.output_tokens + used.output_tokens,
        cache_creation_tokens=state.totals.cache_creation_tokens + used.cache_creation_input_tokens,
        cache_read_tokens=state.totals.cache_read_tokens + used.cache_read_input_tokens,
    )
    status = state.status
    if not isinstance(status, Running):
        return change(state, totals=totals)
    if event.is_error:
        return change(state, totals=totals, status=replace(status, span_id=None))
    advanced = replace(status, span_id=None, rounds=status.rounds + 1, failures=0)
    return change(state, totals=totals, status=advanced, stalled_claims=0)


def _placed(state: SessionState, event: AgentToolUse) -> tuple[Runner, CallPhase]:
    on_worker = isinstance(state.environment_config, SelfHostedConfig)
    runner: Runner = "worker" if on_worker else "sandbox"
    match event.evaluated_permission:
        case "allow":
            return runner, AwaitingResult() if on_worker else Runnable()
        case "ask":
            return runner, AwaitingConfirmation()
        case "deny":
            return runner, Denied(denial_text(event))


def denial_text(event: AgentToolUse) -> str:
    """What the model reads when a call was refused before anybody was asked."""
    if event.evaluation is None:
        return f"The tool {event.name} is not available in this session."
    return f"Permission to use {event.name} has been denied."


def _called(state: SessionState, event_id: EventId, call: ToolCall) -> SessionState:
    return change(state, calls=(*state.calls, call), compactions=0, last_context_event=event_id)


def _confirmed(state: SessionState, event: UserToolConfirmation) -> SessionState:
    call = state.call(event.tool_use_id)
    if call is None:
        return state
    phase: CallPhase
    if event.result == "deny":
        said = f" Rejection message: {event.deny_message}" if event.deny_message else ""
        phase = Denied(f"Permission to use {call.name} has been rejected.{said}")
    else:
        phase = AwaitingResult() if call.runner == "worker" else Runnable()
    return state.with_call(replace(call, phase=phase))


def _settled(state: SessionState, call_id: EventId, event_id: EventId) -> SessionState:
    remaining = tuple(call for call in state.calls if call.id != call_id)
    return change(state, calls=remaining, stalled_claims=0, last_context_event=event_id)


def _answered(state: SessionState, call_id: EventId, event: UserCustomToolResult | UserToolResult) -> SessionState:
    known = Answer(call_id, event.id, result_digest(event), event.processed_at)
    return change(state, answers=(*state.answers, known)[-ANSWERS_MAX:])


def _tokens_sealed(state: SessionState, event: RepositoryTokensSealed) -> SessionState:
    def touched(held: Attached) -> Attached:
        if event.rotated is None or id_of(held.resource) != event.rotated:
            return held
        return Attached(held.resource.model_copy(update={"updated_at": event.processed_at}), held.content)

    return change(
        state,
        sealed_tokens=event.sealed,
        resources=tuple(touched(held) for held in state.resources),
        updated_at=event.processed_at,
    )


def _updated(state: SessionState, event: SessionUpdated) -> SessionState:
    state = change(state, updated_at=event.processed_at)
    changed = event.model_fields_set
    if "title" in changed:
        state = change(state, title=event.title)
    if "metadata" in changed:
        state = change(state, metadata=event.metadata or {})
    if event.agent is not None:
        state = change(state, agent=event.agent)
    if "budget" in changed:
        state = change(state, budget=event.budget)
    return state
