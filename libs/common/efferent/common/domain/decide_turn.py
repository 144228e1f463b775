"""Decisions of a turn: what a brain records while it works. The orders of events are those of the hosted service."""

from typing import Final

from efferent.common.domain.budget import is_at_cap
from efferent.common.domain.commands import (
    ClaimTurn,
    RecordCompaction,
    RecordFailure,
    RecordReply,
    RecordToolResult,
    StartRequest,
    TakeQueuedInput,
    ToolCallPart,
)
from efferent.common.domain.draft import Decision, Draft, Stamp
from efferent.common.domain.events import (
    AgentThreadContextCompacted,
    AgentToolResult,
    CompactionDue,
    ContextCompacted,
    SpanModelRequestEnd,
    SystemMessage,
    UserInterrupt,
    UserMessage,
    UserToolConfirmation,
)
from efferent.common.domain.events.stop import (
    EndTurn,
    Exhausted,
    Failure,
    Refusal,
    RequiresAction,
    RetriesExhausted,
    Retrying,
    Terminal,
    UnknownError,
)
from efferent.common.domain.ids import BrainId, ClaimId, EventId
from efferent.common.domain.refusals import ClaimLost
from efferent.common.domain.state import (
    Denied,
    Idle,
    Rescheduling,
    Runnable,
    Running,
    SessionState,
    Terminated,
    blockers,
    confirmed_in_queue,
    has_takeable_input,
    is_idle_at_cap,
)
from efferent.common.domain.turn_events import (
    close_span_in_error,
    compaction_limit,
    fail_call,
    failure_of,
    pause,
    record_part,
    record_price,
    report_mcp_servers,
    report_repositories,
    reschedule,
    say_error,
    say_idle,
    say_running,
    say_terminated,
    start_span,
    take_claim,
    tool_use_limit,
)

FAILURES_MAX: Final = 5
"""Model requests in a row that may fail before the turn ends with ``retries_exhausted``."""
ROUNDS_MAX: Final = 500
"""Model requests that one turn may make before ``tool_use_limit_reached_error``."""
COMPACTIONS_MAX: Final = 3
"""Compactions in a row without a message or tool call before ``compaction_limit_reached_error``."""
STALLED_CLAIMS_MAX: Final = 3
"""Claims in a row under which nothing was achieved before the turn is given up."""

INTERRUPTED_TEXT: Final = "Tool execution was interrupted before completion. Please retry."


# --- commands -------------------------------------------------------------------------------------------------------


def claim_turn(state: SessionState, command: ClaimTurn, stamp: Stamp) -> Decision:
    """Take waiting input in, or take an unfinished turn over."""
    draft = Draft(state, stamp)
    match state.status:
        case Terminated():
            raise ClaimLost("the session is terminated")
        case Idle():
            if not has_takeable_input(state):
                raise ClaimLost("there is no input to take in")
            _take_while_idle(draft, command)
        case Running() | Rescheduling():
            _take_over(draft, command)
    return draft.decision()


def take_queued_input(state: SessionState, command: TakeQueuedInput, stamp: Stamp) -> Decision:
    """Take in an interrupt or confirmations that came while the holder works."""
    claim = _check_claim(state, command.claim_id)
    draft = Draft(state, stamp)
    if _interrupts(state):
        _interrupt(draft)
        if _has_message(draft.state) and not is_idle_at_cap(draft.state):
            _begin_turn(draft, command.claim_id, claim)
    else:
        _take_confirmations(draft)
        _settle_denied(draft)
        _go_on(draft)
    return draft.decision()


def start_request(state: SessionState, command: StartRequest, stamp: Stamp) -> Decision:
    """Begin the next model request: after a wait for a retry, or where a turn has nothing else to do."""
    _check_claim(state, command.claim_id)
    draft = Draft(state, stamp)
    match state.status:
        case Rescheduling():
            say_running(draft)
            _go_on(draft)
        case Running(span_id=None):
            _go_on(draft)
        case _:
            raise ClaimLost("a request is open already")
    return draft.decision()


def record_reply(state: SessionState, command: RecordReply, stamp: Stamp) -> Decision:
    """Record what the model answered, and what follows from it."""
    _check_span(state, command.claim_id, command.span_id)
    draft = Draft(state, stamp)
    for block, part in enumerate(command.parts):
        record_part(draft, command, block, part)
    draft.add(
        lambda id, at: SpanModelRequestEnd(
            id=id,
            model_request_start_id=command.span_id,
            is_error=False,
            model_usage=command.usage,
            processed_at=at,
        )
    )
    record_price(draft, command.model, command.list_cost_micro_usd)
    if command.compaction_due and not draft.state.compaction_due:
        draft.add(lambda id, at: CompactionDue(id=id, processed_at=at))
    _settle_denied(draft)
    called = any(isinstance(part, ToolCallPart) for part in command.parts)
    waits = any(isinstance(item, UserMessage) for item in draft.state.queue)
    if called or command.more_to_come or waits:
        _go_on(draft)
    elif command.refusal is not None:
        say_idle(draft, Refusal(), command.refusal)
    else:
        say_idle(draft, EndTurn())
    return draft.decision()


def record_failure(state: SessionState, command: RecordFailure, stamp: Stamp) -> Decision:
    """Record that a model request failed: tried again later, given up, or the end of the session."""
    if command.span_id is not None:
        _check_span(state, command.claim_id, command.span_id)
    else:
        _check_claim(state, command.claim_id)
    if not isinstance(state.status, Running):
        raise ClaimLost("no request is open")
    draft = Draft(state, stamp)
    close_span_in_error(draft)
    retry = command.verdict == "retryable" and state.status.failures + 1 < FAILURES_MAX
    match command.verdict:
        case "retryable" if retry:
            say_error(draft, failure_of(command, Retrying()))
            reschedule(draft, state.status.failures + 1, command.retry_delay_us)
        case "retryable" | "exhausted":
            _give_up(draft, failure_of(command, Exhausted()))
        case "terminal":
            say_error(draft, failure_of(command, Terminal()))
            _deliver(draft)
            say_terminated(draft)
    return draft.decision()


def record_tool_result(state: SessionState, command: RecordToolResult, stamp: Stamp) -> Decision:
    """Record the one result of a call."""
    _check_claim(state, command.claim_id)
    call = state.call(command.call_id)
    if call is None or not isinstance(call.phase, Runnable):
        raise ClaimLost(f"call {command.call_id} is settled")
    draft = Draft(state, stamp)
    draft.add(
        lambda id, at: AgentToolResult(
            id=id, tool_use_id=command.call_id, content=command.content, is_error=command.is_error, processed_at=at
        )
    )
    _go_on(draft)
    return draft.decision()


def record_compaction(state: SessionState, command: RecordCompaction, stamp: Stamp) -> Decision:
    """Record the summary that stands for the context from here on, and begin the next request."""
    _check_claim(state, command.claim_id)
    if not state.compaction_due or state.last_context_event != command.up_to:
        raise ClaimLost("the context has moved on")
    draft = Draft(state, stamp)
    draft.add(lambda id, at: ContextCompacted(id=id, summary=command.summary, up_to=command.up_to, processed_at=at))
    draft.add(lambda id, at: AgentThreadContextCompacted(id=id, processed_at=at))
    record_price(draft, command.model, command.list_cost_micro_usd)
    _go_on(draft)
    return draft.decision()


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_claim(state: SessionState, claim_id: ClaimId) -> BrainId:
    if state.claim is None or state.claim.claim_id != claim_id:
        raise ClaimLost("another claim holds the session")
    return state.claim.brain_id


def _check_span(state: SessionState, claim_id: ClaimId, span_id: EventId) -> None:
    _check_claim(state, claim_id)
    if not isinstance(state.status, Running) or state.status.span_id != span_id:
        raise ClaimLost(f"model request {span_id} is not open")


def _interrupts(state: SessionState) -> tuple[UserInterrupt, ...]:
    return tuple(item for item in state.queue if isinstance(item, UserInterrupt))


# --- taking input in ------------------------------------------------------------------------------------------------


def _take_while_idle(draft: Draft, command: ClaimTurn) -> None:
    if _interrupts(draft.state):
        if draft.state.calls or draft.state.is_paused:
            _interrupt(draft)
        else:
            _process_interrupts(draft)
    waits_for_more = bool(blockers(draft.state))
    if waits_for_more:
        _take_confirmations(draft)
        say_idle(draft, RequiresAction(event_ids=blockers(draft.state)))
    elif draft.state.calls or _was_blocked(draft.state):
        _begin_turn(draft, command.claim_id, command.brain_id)
    elif is_idle_at_cap(draft.state):
        return  # only the interrupts were to be taken in; messages wait for the budget
    elif draft.state.is_paused or _has_message(draft.state):
        _begin_turn(draft, command.claim_id, command.brain_id)
    else:
        _deliver(draft)


def _was_blocked(state: SessionState) -> bool:
    return isinstance(state.status, Idle) and isinstance(state.status.stop_reason, RequiresAction)


def _has_message(state: SessionState) -> bool:
    return any(isinstance(item, UserMessage) for item in state.queue)


def _begin_turn(draft: Draft, claim_id: ClaimId, brain_id: BrainId) -> None:
    resumes = bool(draft.state.calls) or _was_blocked(draft.state) or draft.state.is_paused
    take_claim(draft, claim_id, brain_id)
    _take_confirmations(draft)
    say_running(draft)
    if not resumes:
        report_mcp_servers(draft)
        report_repositories(draft)
    _settle_denied(draft)
    _go_on(draft)


def _take_over(draft: Draft, command: ClaimTurn) -> None:
    stalled = draft.state.stalled_claims >= STALLED_CLAIMS_MAX
    take_claim(draft, command.claim_id, command.brain_id)
    was_open = isinstance(draft.state.status, Running) and draft.state.status.span_id is not None
    close_span_in_error(draft)
    if stalled:
        message = f"The turn was taken over {STALLED_CLAIMS_MAX} times without progress and was given up."
        _fail_calls(draft, INTERRUPTED_TEXT)
        if isinstance(draft.state.status, Rescheduling):
            say_running(draft)
        _give_up(draft, UnknownError(message=message, retry_status=Exhausted()))
    elif was_open and not _interrupts(draft.state):
        _request(draft)


def _take_confirmations(draft: Draft) -> None:
    for item in draft.state.queue:
        if isinstance(item, UserToolConfirmation):
            _repeat(draft, item)


def _repeat(draft: Draft, item: UserMessage | UserToolConfirmation | SystemMessage | UserInterrupt) -> None:
    draft.add(lambda _id, at: item.model_copy(update={"processed_at": at}))


def _deliver(draft: Draft) -> None:
    """Take every waiting message in, in order."""
    for item in draft.state.queue:
        if isinstance(item, UserMessage | SystemMessage):
            _repeat(draft, item)


def _process_interrupts(draft: Draft) -> None:
    for item in _interrupts(draft.state):
        _repeat(draft, item)


def _interrupt(draft: Draft) -> None:
    """End what is going on: the span and every call in error, then the interrupt, then idle (4.6 F)."""
    close_span_in_error(draft)
    _take_confirmations(draft)
    _fail_calls(draft, INTERRUPTED_TEXT)
    _process_interrupts(draft)
    say_idle(draft, EndTurn())


# --- going on -------------------------------------------------------------------------------------------------------


def _go_on(draft: Draft) -> None:
    """What comes next in a running turn whose last step is recorded."""
    state = draft.state
    if any(isinstance(call.phase, Runnable) for call in state.calls):
        return
    if any(call.id in confirmed_in_queue(state) for call in state.calls):
        _take_confirmations(draft)
        _settle_denied(draft)
        _go_on(draft)
    elif state.calls:
        say_idle(draft, RequiresAction(event_ids=blockers(state)))
    elif is_at_cap(state, draft.at()):
        pause(draft)
    elif state.compaction_due:
        if state.compactions >= COMPACTIONS_MAX:
            _give_up(draft, compaction_limit(COMPACTIONS_MAX))
    elif isinstance(state.status, Running) and state.status.rounds >= ROUNDS_MAX:
        _give_up(draft, tool_use_limit(ROUNDS_MAX))
    else:
        _deliver(draft)
        start_span(draft)


def _request(draft: Draft) -> None:
    """A request that a lost brain had begun is made again, unless the budget was reached meanwhile."""
    if is_at_cap(draft.state, draft.at()):
        pause(draft)
    else:
        start_span(draft)


def _settle_denied(draft: Draft) -> None:
    for call in draft.state.calls:
        if isinstance(call.phase, Denied):
            fail_call(draft, call.id, call.phase.text)


def _fail_calls(draft: Draft, text: str) -> None:
    for call in draft.state.calls:
        fail_call(draft, call.id, text)


def _give_up(draft: Draft, error: Failure) -> None:
    """The turn is dead: queued messages are delivered, so that nothing acknowledged is dropped, and it is idle."""
    say_error(draft, error)
    _deliver(draft)
    say_idle(draft, RetriesExhausted())
