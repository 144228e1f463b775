"""The events of a turn, grouped as the hosted service records them; ``decide_turn`` says what comes when."""

from efferent.common.domain.budget import is_at_cap
from efferent.common.domain.commands import (
    RecordFailure,
    RecordReply,
    ToolCallPart,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.draft import Draft
from efferent.common.domain.events import (
    AgentCustomToolUse,
    AgentMessage,
    AgentThinking,
    AgentToolResult,
    AgentToolUse,
    ModelRequestPriced,
    ModelThought,
    RetryScheduled,
    SessionError,
    SessionStatusIdle,
    SessionStatusRescheduled,
    SessionStatusRunning,
    SessionStatusTerminated,
    SessionThreadStatusIdle,
    SessionThreadStatusRescheduled,
    SessionThreadStatusRunning,
    SessionThreadStatusTerminated,
    SessionUsage,
    SpanModelRequestEnd,
    SpanModelRequestStart,
    TurnClaimed,
    WorkPaused,
)
from efferent.common.domain.events.stop import (
    BillingError,
    BudgetReached,
    CompactionLimitReachedError,
    EndTurn,
    Exhausted,
    Failure,
    McpConnectionFailedError,
    ModelOverloadedError,
    ModelRateLimitedError,
    ModelRequestFailedError,
    RefusalStopDetails,
    RepositoryCloneError,
    Retrying,
    RetryStatus,
    StopReason,
    ToolUseLimitReachedError,
    UnknownError,
)
from efferent.common.domain.ids import BrainId, ClaimId, EventId, derive
from efferent.common.domain.permissions import BuiltinTool, UnavailableTool, evaluate, find_tool
from efferent.common.domain.resources.agent import CustomTool
from efferent.common.domain.resources.session_resource import GithubRepositoryResource
from efferent.common.domain.state import (
    Running,
)
from efferent.common.domain.timestamp import from_epoch_us
from efferent.common.domain.totals import usage_of
from efferent.common.domain.transitions import next_status
from efferent.common.domain.usage import ModelUsage


def preview_id(claim_id: ClaimId, span_id: EventId, block: int) -> EventId:
    """Id of the event that part ``block`` of a reply becomes; the same while it streams and when it is recorded.

    It holds the claim, so that two brains never stream different text under one id.
    """
    return EventId(derive("sevt_", claim_id, span_id, str(block)))


def take_claim(draft: Draft, claim_id: ClaimId, brain_id: BrainId) -> None:
    """This brain works on the session from here on."""
    draft.add(lambda id, at: TurnClaimed(id=id, claim_id=claim_id, brain_id=brain_id, processed_at=at))


def start_span(draft: Draft) -> None:
    """A model request begins."""
    draft.add(lambda id, at: SpanModelRequestStart(id=id, processed_at=at))


def close_span_in_error(draft: Draft) -> None:
    """The open model request, if any, ended without an answer."""
    status = draft.state.status
    if not isinstance(status, Running) or status.span_id is None:
        return
    span_id = status.span_id
    draft.add(
        lambda id, at: SpanModelRequestEnd(
            id=id, model_request_start_id=span_id, is_error=True, model_usage=ModelUsage(), processed_at=at
        )
    )


def record_part(draft: Draft, command: RecordReply, block: int, part: Thought | TextBlock | ToolCallPart) -> None:
    """One part of a reply, under the id that its preview has."""
    event_id = preview_id(command.claim_id, command.span_id, block)
    match part:
        case Thought():
            draft.add(
                lambda id, at: ModelThought(
                    id=id,
                    model=part.model,
                    thinking=part.thinking,
                    signature=part.signature,
                    redacted_data=part.redacted_data,
                    processed_at=at,
                )
            )
            draft.add(lambda _id, at: AgentThinking(id=event_id, processed_at=at))
        case TextBlock(text=text):
            if text:
                draft.add(lambda _id, at: AgentMessage(id=event_id, content=(part,), processed_at=at))
        case ToolCallPart():
            _record_call(draft, event_id, part)


def _record_call(draft: Draft, event_id: EventId, part: ToolCallPart) -> None:
    match find_tool(draft.state.agent, part.name):
        case CustomTool():
            draft.add(
                lambda _id, at: AgentCustomToolUse(id=event_id, name=part.name, input=part.input, processed_at=at)
            )
        case BuiltinTool(policy=policy):
            permission, evaluation = evaluate(policy)
            draft.add(
                lambda _id, at: AgentToolUse(
                    id=event_id,
                    name=part.name,
                    input=part.input,
                    evaluated_permission=permission,
                    evaluation=evaluation,
                    processed_at=at,
                )
            )
        case UnavailableTool():
            draft.add(
                lambda _id, at: AgentToolUse(
                    id=event_id, name=part.name, input=part.input, evaluated_permission="deny", processed_at=at
                )
            )


def record_price(draft: Draft, model: str, list_cost_micro_usd: int | None) -> None:
    """What the request that just ended costs at list price."""
    draft.add(
        lambda id, at: ModelRequestPriced(id=id, model=model, list_cost_micro_usd=list_cost_micro_usd, processed_at=at)
    )


def fail_call(draft: Draft, call_id: EventId, text: str) -> None:
    """The error result of a call that did not run to its end."""
    draft.add(
        lambda id, at: AgentToolResult(
            id=id, tool_use_id=call_id, content=(TextBlock(text=text),), is_error=True, processed_at=at
        )
    )


def say_running(draft: Draft) -> None:
    """Session and thread run."""
    next_status(draft.state.status.name, "session.status_running")
    state = draft.state
    draft.add(lambda id, at: SessionStatusRunning(id=id, processed_at=at))
    draft.add(
        lambda id, at: SessionThreadStatusRunning(
            id=id, session_thread_id=state.primary_thread_id, agent_name=state.agent.name, processed_at=at
        )
    )


def say_idle(draft: Draft, reason: StopReason, details: RefusalStopDetails | None = None) -> None:
    """Thread idle, usage, session idle: always these three.

    A thread whose last request crossed the budget and ended the turn says so itself; its session is at the cap.
    """
    next_status(draft.state.status.name, "session.status_idle")
    state = draft.state
    at_cap = isinstance(reason, EndTurn) and is_at_cap(state, draft.at())
    session_reason = BudgetReached() if at_cap else reason
    draft.add(
        lambda id, at: SessionThreadStatusIdle(
            id=id,
            session_thread_id=state.primary_thread_id,
            agent_name=state.agent.name,
            stop_reason=reason,
            stop_details=details,
            processed_at=at,
        )
    )
    draft.add(lambda id, at: SessionUsage(id=id, usage=usage_of(state, at), budget=state.budget, processed_at=at))
    draft.add(
        lambda id, at: SessionStatusIdle(id=id, stop_reason=session_reason, stop_details=details, processed_at=at)
    )


def pause(draft: Draft) -> None:
    """The budget is reached and work is left: idle until there is more money."""
    say_idle(draft, BudgetReached())
    draft.add(lambda id, at: WorkPaused(id=id, processed_at=at))


def say_terminated(draft: Draft) -> None:
    """The session is over: its primary thread and itself."""
    next_status(draft.state.status.name, "session.status_terminated")
    state = draft.state
    draft.add(
        lambda id, at: SessionThreadStatusTerminated(
            id=id, session_thread_id=state.primary_thread_id, agent_name=state.agent.name, processed_at=at
        )
    )
    draft.add(lambda id, at: SessionStatusTerminated(id=id, processed_at=at))


def say_error(draft: Draft, error: Failure) -> None:
    """Something went wrong."""
    draft.add(lambda id, at: SessionError(id=id, error=error, processed_at=at))


def reschedule(draft: Draft, attempt: int, delay_us: int) -> None:
    """The request is tried again after the delay."""
    next_status(draft.state.status.name, "session.status_rescheduled")
    state = draft.state
    draft.add(
        lambda id, at: SessionThreadStatusRescheduled(
            id=id, session_thread_id=state.primary_thread_id, agent_name=state.agent.name, processed_at=at
        )
    )
    draft.add(lambda id, at: SessionStatusRescheduled(id=id, processed_at=at))
    not_before = from_epoch_us(draft.stamp.now_us + delay_us)
    draft.add(lambda id, at: RetryScheduled(id=id, attempt=attempt, not_before=not_before, processed_at=at))


def report_mcp_servers(draft: Draft) -> None:
    """No MCP server can be reached in this release: say so per server, and go on without."""
    for server in draft.state.agent.mcp_servers:
        say_error(
            draft,
            McpConnectionFailedError(
                mcp_server_name=server.name,
                message="MCP servers cannot be reached in this release; the turn goes on without this server's tools.",
                retry_status=Exhausted(),
            ),
        )


def report_repositories(draft: Draft) -> None:
    """No repository can be fetched in this release: say so once per repository, and go on without."""
    if draft.state.repositories_failed:
        return
    for held in draft.state.resources:
        if isinstance(held.resource, GithubRepositoryResource):
            say_error(
                draft,
                RepositoryCloneError(
                    repository_url=held.resource.url,
                    message="Repositories cannot be fetched in this release; the session goes on without this one.",
                    retry_status=Retrying(),
                ),
            )


def failure_of(command: RecordFailure, status: RetryStatus) -> Failure:
    """The ``session.error`` of a failed model request."""
    match command.kind:
        case "model_overloaded":
            return ModelOverloadedError(message=command.message, retry_status=status)
        case "model_rate_limited":
            return ModelRateLimitedError(message=command.message, retry_status=status)
        case "model_request_failed":
            return ModelRequestFailedError(message=command.message, retry_status=status)
        case "billing":
            return BillingError(message=command.message, retry_status=status)
        case "unknown":
            return UnknownError(message=command.message, retry_status=status)


def tool_use_limit(rounds_max: int) -> ToolUseLimitReachedError:
    """The turn made as many model requests as one turn may."""
    return ToolUseLimitReachedError(
        message=f"The turn made {rounds_max} model requests, the most that one turn may make.",
        retry_status=Exhausted(),
    )


def compaction_limit(compactions_max: int) -> CompactionLimitReachedError:
    """Summaries alone do not help any more."""
    return CompactionLimitReachedError(
        message=f"The context was compacted {compactions_max} times in a row without a message or tool call.",
        retry_status=Exhausted(),
    )
