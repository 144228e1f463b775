"""Folds a record straight from its parsed JSON: for those who follow every record of every session.

The result is that of decoding the whole record and folding it. What makes it quicker: facts that only tell the time
make no objects, and entries need none around their events.
"""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from efferent.common.domain.events import Event
from efferent.common.domain.evolve import fold_events
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import LogUnreadable

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


def fold_entries(state: SessionState | None, entries: Iterable[dict[str, Any]]) -> SessionState | None:
    """The state after a record of the current version with these entries. Raises LogUnreadable."""
    latest = Timestamp("")
    facts = []
    try:
        for entry in entries:
            fact = entry["event"]
            if fact["type"] in TIME_ONLY:
                latest = max(latest, fact["processed_at"])
            else:
                facts.append(fact)
        state = fold_events(state, _EVENTS.validate_python(facts))
    except (ValidationError, KeyError, TypeError) as error:
        raise LogUnreadable(str(error)) from error
    if state is not None and latest > state.last_at:
        return replace(state, last_at=latest)
    return state
