"""Folds a record straight from its parsed JSON: for those who follow every record of every session.

The result is that of decoding the whole record and folding it. What makes it quicker: facts that only tell the time
make no objects, content that the state does not keep is not looked into, entries need no objects around their events,
and many records are decoded in one go.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, NamedTuple, Union, get_args

from pydantic import Field, TypeAdapter, ValidationError

from efferent.common.domain.events import (
    AgentMcpToolResult,
    AgentMessage,
    AgentToolResult,
    Event,
    InternalEvent,
    PublicEvent,
    SystemMessage,
    UserMessage,
)
from efferent.common.domain.evolve import fold_events
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

_INTERNAL_PREFIX: Final = "internal."


class _AgentMessage(AgentMessage):
    content: Any


class _AgentToolResult(AgentToolResult):
    content: Any = ()


class _AgentMcpToolResult(AgentMcpToolResult):
    content: Any = ()


class _UserMessage(UserMessage):
    content: Any


class _SystemMessage(SystemMessage):
    content: Any


WITHOUT_CONTENT: Final = (_AgentMessage, _AgentToolResult, _AgentMcpToolResult, _UserMessage, _SystemMessage)
"""Facts of which the state never keeps the content; ``test_record_folding.py`` holds it so."""
_WHOLE: Final = tuple(
    kind for kind in get_args(PublicEvent | InternalEvent) if not any(issubclass(it, kind) for it in WITHOUT_CONTENT)
)
_EVENTS: Final[TypeAdapter[list[Event]]] = TypeAdapter(
    list[Annotated[Union[(*WITHOUT_CONTENT, *_WHOLE)], Field(discriminator="type")]]  # type: ignore[valid-type]
)


ListedEvent = tuple[int, str, str | None, str]
"""What lists and filters need of an event: its entry in the record, type, thread and ``processed_at``."""


class SortedRecord(NamedTuple):
    """A record's entries, sorted by who needs what of them."""

    listed: list[ListedEvent]
    """The events that clients may see, in order."""
    facts: list[dict[str, Any]]
    """What the state is folded from, not yet decoded."""
    latest: Timestamp
    """When the last of the other facts happened, which only tell the time; empty when there are none."""


class Facts(NamedTuple):
    """What a record changes."""

    events: Sequence[Event]
    latest: Timestamp
    """As in ``SortedRecord``."""


def sort_record(entries: Iterable[dict[str, Any]]) -> SortedRecord:
    """Sort the entries of a record as parsed. Raises LogUnreadable."""
    listed, facts, latest = [], [], Timestamp("")
    try:
        for index, entry in enumerate(entries):
            fact = entry["event"]
            name = fact["type"]
            if not name.startswith(_INTERNAL_PREFIX):
                listed.append((index, name, entry.get("thread"), fact["processed_at"]))
            if name not in TIME_ONLY:
                facts.append(fact)
            elif fact["processed_at"] > latest:
                latest = fact["processed_at"]
    except (KeyError, TypeError, AttributeError) as error:
        raise LogUnreadable(f"not an event: {type(error).__name__}") from error
    return SortedRecord(listed, facts, latest)


def facts_of(records: Sequence[SortedRecord]) -> list[Facts | None]:
    """The facts of each record, decoded; None for a record that is not readable."""
    try:
        events = _EVENTS.validate_python([fact for record in records for fact in record.facts])
    except ValidationError:
        return [_decoded(record) for record in records]
    found: list[Facts | None] = []
    start = 0
    for record in records:
        end = start + len(record.facts)
        found.append(Facts(events[start:end], record.latest))
        start = end
    return found


def fold_facts(state: SessionState | None, facts: Facts) -> SessionState | None:
    """The state after a record with these facts."""
    return fold_events(state, facts.events, until=facts.latest)


def _decoded(record: SortedRecord) -> Facts | None:
    try:
        return Facts(_EVENTS.validate_python(record.facts), record.latest)
    except ValidationError:
        return None
