"""``pending``: the effects that a state calls for; ``react``: those that one event newly calls for. Both pure.

A brain that takes a session over performs exactly ``pending(state)``; replaying history performs nothing.
"""

from efferent.common.domain.effects import (
    BeginRequest,
    CompactContext,
    Effect,
    RequestModel,
    RetryLater,
    RunTool,
    TakeInput,
)
from efferent.common.domain.events import InternalEvent, PublicEvent
from efferent.common.domain.evolve import evolve
from efferent.common.domain.state import (
    Idle,
    Rescheduling,
    Runnable,
    Running,
    SessionState,
    Terminated,
    confirmed_in_queue,
    has_takeable_input,
)


def pending(state: SessionState | None) -> tuple[Effect, ...]:
    """Everything that has to happen now for the session to go on; empty when it waits for a client or is over."""
    if state is None or state.deleted:
        return ()
    match state.status:
        case Terminated():
            return ()
        case Idle():
            return (TakeInput(),) if has_takeable_input(state) else ()
        case Rescheduling(not_before=not_before):
            return (TakeInput(),) if _interrupted(state) else (RetryLater(not_before),)
        case Running():
            return (TakeInput(),) if _interrupted(state) else _working(state, state.status)


def react(state: SessionState | None, event: PublicEvent | InternalEvent) -> tuple[Effect, ...]:
    """The effects that this event newly calls for."""
    before = pending(state)
    return tuple(effect for effect in pending(evolve(state, event)) if effect not in before)


def _interrupted(state: SessionState) -> bool:
    return any(item.type == "user.interrupt" for item in state.queue)


def _working(state: SessionState, status: Running) -> tuple[Effect, ...]:
    effects: list[Effect] = []
    confirmed = confirmed_in_queue(state)
    if any(call.id in confirmed for call in state.calls):
        effects.append(TakeInput())
    if status.span_id is not None:
        effects.append(RequestModel(status.span_id))
        return tuple(effects)
    effects += [RunTool(call.id, call.name, call.input) for call in state.calls if isinstance(call.phase, Runnable)]
    if effects or state.calls:
        return tuple(effects) or (BeginRequest(status.rounds),)
    if state.compaction_due and state.last_context_event is not None:
        return (CompactContext(state.last_context_event),)
    return (BeginRequest(status.rounds),)
