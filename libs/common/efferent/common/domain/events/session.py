"""Events about a session and its threads: ``session.*``."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from efferent.common.domain.content import Shape
from efferent.common.domain.events.stop import Failure, RefusalStopDetails, StopReason
from efferent.common.domain.ids import EventId, ThreadId
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit, Usage


class SessionStatusRunning(Shape):
    """Work began or resumed."""

    type: Literal["session.status_running"] = "session.status_running"
    id: EventId
    processed_at: Timestamp


class SessionStatusIdle(Shape):
    """Waiting for input; the stop reason says why."""

    type: Literal["session.status_idle"] = "session.status_idle"
    id: EventId
    stop_reason: StopReason
    stop_details: RefusalStopDetails | None = None
    processed_at: Timestamp


class SessionStatusRescheduled(Shape):
    """Recovering from a transient fault."""

    type: Literal["session.status_rescheduled"] = "session.status_rescheduled"
    id: EventId
    processed_at: Timestamp


class SessionStatusTerminated(Shape):
    """Over for good."""

    type: Literal["session.status_terminated"] = "session.status_terminated"
    id: EventId
    processed_at: Timestamp


class SessionThreadCreated(Shape):
    """A child thread came up."""

    type: Literal["session.thread_created"] = "session.thread_created"
    id: EventId
    session_thread_id: ThreadId
    agent_name: str
    workflow_run_id: str | None = None
    processed_at: Timestamp


class SessionThreadStatusRunning(Shape):
    """A thread began to run."""

    type: Literal["session.thread_status_running"] = "session.thread_status_running"
    id: EventId
    session_thread_id: ThreadId
    agent_name: str
    processed_at: Timestamp


class SessionThreadStatusIdle(Shape):
    """A thread yielded."""

    type: Literal["session.thread_status_idle"] = "session.thread_status_idle"
    id: EventId
    session_thread_id: ThreadId
    agent_name: str
    stop_reason: StopReason
    stop_details: RefusalStopDetails | None = None
    processed_at: Timestamp


class SessionThreadStatusRescheduled(Shape):
    """A thread retries after a transient fault."""

    type: Literal["session.thread_status_rescheduled"] = "session.thread_status_rescheduled"
    id: EventId
    session_thread_id: ThreadId
    agent_name: str
    processed_at: Timestamp


class SessionThreadStatusTerminated(Shape):
    """A thread ended."""

    type: Literal["session.thread_status_terminated"] = "session.thread_status_terminated"
    id: EventId
    session_thread_id: ThreadId
    agent_name: str
    processed_at: Timestamp


class SessionError(Shape):
    """Something went wrong; ``retry_status`` says what happens next."""

    type: Literal["session.error"] = "session.error"
    id: EventId
    error: Failure
    processed_at: Timestamp


class SessionUpdated(Shape):
    """An update changed something: only the changed fields are written."""

    type: Literal["session.updated"] = "session.updated"
    id: EventId
    title: str | None = None
    metadata: dict[str, str] | None = None
    agent: AgentSnapshot | None = None
    budget: BudgetLimit | None = None
    processed_at: Timestamp

    @model_serializer(mode="wrap")
    def _only_what_was_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if key == "type" or key in self.model_fields_set}


class SessionUsage(Shape):
    """Running totals, right before every idle."""

    type: Literal["session.usage"] = "session.usage"
    id: EventId
    usage: Usage
    budget: BudgetLimit | None = None
    processed_at: Timestamp


class SessionDeleted(Shape):
    """The session was deleted; streams end. Never listed."""

    type: Literal["session.deleted"] = "session.deleted"
    id: EventId
    processed_at: Timestamp
