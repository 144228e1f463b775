"""Folds a record straight from its parsed JSON: for those who follow every record of every session.

The result is that of decoding the whole record and folding it. What makes it quicker: facts that only tell the time
make no objects, entries need none around their events, and many records are decoded in one go.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from efferent.common.domain.events import Event
from efferent.common.domain.evolve import fold_events
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp

TIME_ONLY: Final = frozenset(
    {
        "agent.thinking",
        "internal.model_thought",
        "session.thread_status_idle",
        "session.thread_status_running",
        "session.usage",
    }
)
"""Frequent facts of which the state keeps nothing but when they happened; ``test_record_folding.py`` holds it so."""

_EVENTS: Final[TypeAdapter[tuple[Event, ...]]] = TypeAdapter(tuple[Event, ...])


class Facts(NamedTuple):
    """What a record changes."""

    events: Sequence[Event]
    latest: Timestamp
    """When the last of its facts happened that only tell the time; empty when there are none."""


def facts_of(records: Iterable[Iterable[dict[str, Any]]]) -> list[Facts | None]:
    """The facts of each record, given by its entries; None for one that is not readable."""
    waiting: list[tuple[list[dict[str, Any]], Timestamp] | None] = [_sorted_out(entries) for entries in records]
    try:
        events = _EVENTS.validate_python([fact for one in waiting if one is not None for fact in one[0]])
    except ValidationError:
        return [None if one is None else _decoded(*one) for one in waiting]
    found: list[Facts | None] = []
    start = 0
    for one in waiting:
        if one is None:
            found.append(None)
        else:
            end = start + len(one[0])
            found.append(Facts(events[start:end], one[1]))
            start = end
    return found


def fold_facts(state: SessionState | None, facts: Facts) -> SessionState | None:
    """The state after a record with these facts."""
    state = fold_events(state, facts.events)
    if state is not None and facts.latest > state.last_at:
        return replace(state, last_at=facts.latest)
    return state


def _sorted_out(entries: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], Timestamp] | None:
    latest, facts = Timestamp(""), []
    try:
        for entry in entries:
            fact = entry["event"]
            if fact["type"] in TIME_ONLY:
                latest = max(latest, fact["processed_at"])
            else:
                facts.append(fact)
    except (KeyError, TypeError):
        return None
    return facts, latest


def _decoded(facts: list[dict[str, Any]], latest: Timestamp) -> Facts | None:
    try:
        return Facts(_EVENTS.validate_python(facts), latest)
    except ValidationError:
        return None
