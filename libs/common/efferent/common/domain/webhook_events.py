"""Which webhook events a committed record causes. Pure: the same record always gives the same events with the same ids.

An event's id is made of what it reports (the session event, or type, resource and time of a control record), so a
record that is seen twice gives duplicates that receivers can tell by their id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from efferent.common.domain.content import Shape
from efferent.common.domain.events import (
    Event,
    SessionArchived,
    SessionCreated,
    SessionStatusIdle,
    SessionStatusRescheduled,
    SessionStatusRunning,
    SessionStatusTerminated,
    SessionThreadCreated,
    SessionThreadStatusIdle,
    SessionThreadStatusTerminated,
    SessionUpdated,
    SessionUsage,
    SpanOutcomeEvaluationEnd,
)
from efferent.common.domain.events.stop import BudgetReached, RequiresAction
from efferent.common.domain.ids import EnvironmentId, SessionId, ThreadId, WorkspaceId, derive
from efferent.common.domain.record import Record
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit
from efferent.common.domain.webhook_types import CONTROL_TYPES, SessionWebhookType, WebhookType


class WebhookData(Shape):
    """What happened to which resource; receivers fetch the resource itself."""

    type: WebhookType
    id: str
    """The resource: for events of sessions and their threads the session."""
    organization_id: str
    workspace_id: WorkspaceId
    session_thread_id: ThreadId | None = None
    vault_id: str | None = None


class WebhookEvent(Shape):
    """What is delivered."""

    id: str
    """Receivers tell duplicates by it."""
    type: Literal["event"] = "event"
    created_at: Timestamp
    data: WebhookData

    def body(self) -> bytes:
        """The event as it is sent; the same bytes at each attempt."""
        return self.model_dump_json(exclude_none=True).encode()


@dataclass(frozen=True, slots=True)
class SessionOrigin:
    """What a session's first record says about all of its events."""

    workspace_id: WorkspaceId
    primary_thread_id: ThreadId
    environment_id: EnvironmentId
    is_self_hosted: bool


@dataclass(frozen=True, slots=True)
class ControlFact:
    """What webhooks need of a control record."""

    type: str
    at: Timestamp
    workspace_id: WorkspaceId
    id: str
    vault_id: str | None = None
    is_scheduled: bool = True
    """Of a deployment run: whether its schedule started it."""


def of_control(fact: ControlFact, organization_id: str) -> Sequence[WebhookEvent]:
    """The events that a control record causes: none for types without one, and for runs that a client started.

    A run can be read once it is known what came of it. So its start is reported then, and right before.
    """
    if fact.type not in CONTROL_TYPES or (fact.type.startswith("deployment_run.") and not fact.is_scheduled):
        return ()
    match fact.type:
        case "deployment_run.started":
            return ()
        case "deployment_run.succeeded" | "deployment_run.failed":
            types: tuple[str, ...] = ("deployment_run.started", fact.type)
        case _:
            types = (fact.type,)
    return tuple(_of_control(cast("WebhookType", type_), fact, organization_id) for type_ in types)


def of_session(
    record: Record, session_id: SessionId, origin: SessionOrigin, organization_id: str
) -> Sequence[WebhookEvent]:
    """The events that a session's record causes, in the record's order.

    ``session.budget_reached`` is among them each time that the session stops at its budget; of those with the same id
    only the first counts.
    """
    budget = reached_budget(record)
    return tuple(
        WebhookEvent(
            id=derive("whe_", cause.type, *cause.because),
            created_at=cause.at,
            data=WebhookData(
                type=cause.type,
                id=session_id,
                organization_id=organization_id,
                workspace_id=origin.workspace_id,
                session_thread_id=cause.thread_id,
            ),
        )
        for entry in record.entries
        for cause in _causes(entry.event, session_id, origin, budget)
    )


def reached_budget(record: Record) -> BudgetLimit | None:
    """The budget at which the session stops in this record; None when it does not."""
    if not any(
        isinstance(entry.event, SessionStatusIdle) and isinstance(entry.event.stop_reason, BudgetReached)
        for entry in record.entries
    ):
        return None
    return next((entry.event.budget for entry in record.entries if isinstance(entry.event, SessionUsage)), None)


def _of_control(type_: WebhookType, fact: ControlFact, organization_id: str) -> WebhookEvent:
    return WebhookEvent(
        id=derive("whe_", type_, fact.id, fact.at),
        created_at=fact.at,
        data=WebhookData(
            type=type_,
            id=fact.id,
            organization_id=organization_id,
            workspace_id=fact.workspace_id,
            vault_id=fact.vault_id,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Cause:
    type: SessionWebhookType
    at: Timestamp
    because: tuple[str, ...]
    thread_id: ThreadId | None = None


def _causes(event: Event, session_id: SessionId, origin: SessionOrigin, budget: BudgetLimit | None) -> Iterator[_Cause]:
    match event:
        case SessionCreated():
            yield _Cause("session.created", event.processed_at, (event.id,))
        case SessionUpdated():
            yield _Cause("session.updated", event.processed_at, (event.id,))
        case SessionArchived():
            yield _Cause("session.archived", event.processed_at, (event.id,))
        case SessionStatusRunning():
            yield _Cause("session.status_run_started", event.processed_at, (event.id,))
            yield _Cause("session.running", event.processed_at, (event.id,))
        case SessionStatusIdle():
            yield _Cause("session.status_idled", event.processed_at, (event.id,))
            yield _Cause("session.idled", event.processed_at, (event.id,))
            match event.stop_reason:
                case RequiresAction():
                    yield _Cause("session.requires_action", event.processed_at, (event.id,))
                case BudgetReached():
                    limit = (session_id, budget.max_list_cost.amount) if budget is not None else (event.id,)
                    yield _Cause("session.budget_reached", event.processed_at, limit)
                case _:
                    pass
        case SessionStatusRescheduled():
            yield _Cause("session.status_rescheduled", event.processed_at, (event.id,))
        case SessionStatusTerminated():
            yield _Cause("session.status_terminated", event.processed_at, (event.id,))
        case SpanOutcomeEvaluationEnd():
            yield _Cause("session.outcome_evaluation_ended", event.processed_at, (event.id,))
        case SessionThreadCreated() | SessionThreadStatusIdle() | SessionThreadStatusTerminated():
            if event.session_thread_id != origin.primary_thread_id:
                yield _Cause(_thread_type(event), event.processed_at, (event.id,), event.session_thread_id)
        case _:  # most of what happens in a session is on its streams only
            pass


def _thread_type(
    event: SessionThreadCreated | SessionThreadStatusIdle | SessionThreadStatusTerminated,
) -> SessionWebhookType:
    match event:
        case SessionThreadCreated():
            return "session.thread_created"
        case SessionThreadStatusIdle():
            return "session.thread_idled"
        case SessionThreadStatusTerminated():
            return "session.thread_terminated"
