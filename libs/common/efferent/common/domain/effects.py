"""Effects: what the world has to do for a session. Data only; a brain performs them."""

from dataclasses import dataclass

from pydantic import JsonValue

from efferent.common.domain.ids import EventId
from efferent.common.domain.timestamp import Timestamp


@dataclass(frozen=True, slots=True)
class TakeInput:
    """Take waiting input in."""


@dataclass(frozen=True, slots=True)
class RequestModel:
    """Ask the model; the span is open."""

    span_id: EventId


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a call in the sandbox. The call id makes asking again harmless."""

    call_id: EventId
    name: str
    input: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CompactContext:
    """Summarise the context up to this event."""

    up_to: EventId


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Begin the next request when this time has come."""

    not_before: Timestamp


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """Begin the next request now."""

    after_rounds: int


Effect = TakeInput | RequestModel | RunTool | CompactContext | RetryLater | BeginRequest


def effect_key(effect: Effect) -> str:
    """The identity of an effect: the same key is the same effect, however often it is asked for."""
    match effect:
        case TakeInput():
            return "input"
        case RequestModel(span_id=span_id):
            return f"request:{span_id}"
        case RunTool(call_id=call_id):
            return f"tool:{call_id}"
        case CompactContext(up_to=up_to):
            return f"compact:{up_to}"
        case RetryLater(not_before=not_before):
            return f"retry:{not_before}"
        case BeginRequest(after_rounds=after_rounds):
            return f"begin:{after_rounds}"
