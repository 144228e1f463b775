"""Sessions and threads as they are answered: made from the folded state at the moment of the answer."""

from typing import Final, Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import EnvironmentId, SessionId, ThreadId
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.session_resource import SessionResource
from efferent.common.domain.state import Idle, Rescheduling, Running, SessionState, Terminated, shown_status
from efferent.common.domain.timestamp import Timestamp, seconds_between
from efferent.common.domain.totals import active_seconds, usage_of
from efferent.common.domain.transitions import StatusName
from efferent.common.domain.usage import BudgetLimit, Usage


class SessionStats(Shape):
    """Time that the session worked and lived."""

    active_seconds: float = 0.0
    duration_seconds: float = 0.0


class ThreadStats(Shape):
    """Time that the thread worked, lived and took to start."""

    active_seconds: float = 0.0
    duration_seconds: float = 0.0
    startup_seconds: float = 0.0


class Session(Shape):
    """The Session resource."""

    type: Literal["session"] = "session"
    id: SessionId
    status: StatusName
    title: str | None
    agent: AgentSnapshot
    environment_id: EnvironmentId
    vault_ids: tuple[str, ...]
    resources: tuple[SessionResource, ...] = ()
    metadata: dict[str, str]
    outcome_evaluations: tuple[()] = ()
    stats: SessionStats
    usage: Usage
    budget: BudgetLimit | None = None
    deployment_id: str | None
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None


class SessionThread(Shape):
    """One thread of a session."""

    type: Literal["session_thread"] = "session_thread"
    id: ThreadId
    session_id: SessionId
    parent_thread_id: ThreadId | None = None
    agent: dict[str, object]
    status: StatusName
    stats: ThreadStats | None
    usage: Usage | None
    workflow_run_id: str | None = None
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None


_NOT_IN_THREADS: Final = {"multiagent"}


def session_of(state: SessionState, now: Timestamp) -> Session:
    """The session as it stands at this time."""
    return Session(
        id=state.session_id,
        status=shown_status(state),
        title=state.title,
        agent=state.agent,
        environment_id=state.environment_id,
        vault_ids=state.vault_ids,
        resources=tuple(held.resource for held in state.resources),
        metadata=state.metadata,
        stats=SessionStats(
            active_seconds=round(active_seconds(state, now), 3), duration_seconds=_duration_s(state, now)
        ),
        usage=usage_of(state, now),
        budget=state.budget,
        deployment_id=state.deployment_id,
        created_at=state.created_at,
        updated_at=state.updated_at,
        archived_at=state.archived_at,
    )


def primary_thread_of(state: SessionState, now: Timestamp) -> SessionThread:
    """The session's primary thread as it stands at this time."""
    stats = ThreadStats(active_seconds=round(active_seconds(state, now), 3), duration_seconds=_duration_s(state, now))
    return SessionThread(
        id=state.primary_thread_id,
        session_id=state.session_id,
        agent=state.agent.model_dump(exclude=_NOT_IN_THREADS),
        status=shown_status(state),
        stats=stats if _has_worked(state) else None,
        usage=usage_of(state, now) if state.totals.turns_ended else None,
        created_at=state.created_at,
        updated_at=state.updated_at,
        archived_at=state.archived_at,
    )


def _has_worked(state: SessionState) -> bool:
    match state.status:
        case Idle(stop_reason=None):
            return False
        case Idle() | Running() | Rescheduling() | Terminated():
            return True


def _duration_s(state: SessionState, now: Timestamp) -> float:
    end = state.status.at if isinstance(state.status, Terminated) else now
    return round(seconds_between(state.created_at, end), 3)
