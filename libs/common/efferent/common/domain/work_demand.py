"""When a session of a self-hosted environment calls for a worker: pure rules over its events and its state.

A session has at most one live work item. A record that begins to need a worker (the session's making, input that makes
it run, a call for the worker) makes one when there is none. When an item stops, a new one follows only if such a record
came after its claim and the session still needs a worker: a worker that fails on what it was given is not called again
and again.
"""

from collections.abc import Iterable
from typing import Literal

from efferent.common.domain.events import (
    AgentToolUse,
    InputQueued,
    InternalEvent,
    PublicEvent,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionStatusTerminated,
    SystemMessage,
    UserCustomToolResult,
    UserInterrupt,
    UserToolResult,
)
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.state import AwaitingConfirmation, AwaitingResult, SessionState, Terminated, shown_status

Demand = Literal["none", "while_needed", "always", "over"]
"""What a record asks for: nothing, a worker if the session still needs one, a worker anyhow, or an end of the work."""


def is_self_hosted(state: SessionState) -> bool:
    """Whether workers run the session's built-in tools."""
    return isinstance(state.environment_config, SelfHostedConfig)


def demand(events: Iterable[PublicEvent | InternalEvent]) -> Demand:
    """The strongest demand of one record's events."""
    found: Demand = "none"
    for event in events:
        match event:
            case SessionStatusTerminated() | SessionDeleted() | SessionArchived():
                return "over"
            case SessionCreated() | InputQueued(event=UserInterrupt()):
                found = "always"
            case InputQueued(event=SystemMessage()):
                continue
            case InputQueued() | UserToolResult() | UserCustomToolResult():
                found = "always" if found == "always" else "while_needed"
            case AgentToolUse() if event.evaluated_permission != "deny":
                found = "always" if found == "always" else "while_needed"
            case _:
                continue
    return found


def needs_worker(state: SessionState) -> bool:
    """Whether the session works, or waits for what a worker has to do."""
    if is_over(state):
        return False
    if shown_status(state) in ("running", "rescheduling"):
        return True
    return any(
        call.runner == "worker" and isinstance(call.phase, AwaitingResult | AwaitingConfirmation)
        for call in state.calls
    )


def is_over(state: SessionState) -> bool:
    """Whether no worker can do anything for the session any more."""
    return state.deleted or state.archived_at is not None or isinstance(state.status, Terminated)
