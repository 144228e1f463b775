"""A decision in the making: events are added one by one, each folded at once, so that the next step sees its effect."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from efferent.common.domain.events import InternalEvent, PublicEvent, SessionCreated
from efferent.common.domain.events.user import ClientEvent
from efferent.common.domain.evolve import evolve
from efferent.common.domain.ids import EventId, RecordId, Seed, ThreadId, from_seed
from efferent.common.domain.record import Entry, Record
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp, after, from_epoch_us


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a decision may not make itself: the time (microseconds since 1970) and randomness for ids."""

    now_us: int
    seed: Seed


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be appended. Without a record there is nothing to append."""

    record: Record | None
    state: SessionState
    """The state after the record, to be used once the append has succeeded."""
    echoes: tuple[ClientEvent, ...] = ()
    """The client's events as the response shows them, in the order of the request."""
    repeats: tuple[EventId, ...] = ()
    """The request was accepted before, under the same Idempotency-Key: ids of the events it made."""


@dataclass(slots=True)
class Draft:
    """Collects the entries of one record. Times are consecutive microseconds, never before the state's newest event."""

    state: SessionState
    stamp: Stamp
    entries: list[Entry] = field(default_factory=list)
    _ids: int = 0
    _now: Timestamp | None = None

    def id(self) -> EventId:
        """The next fresh event id."""
        self._ids += 1
        return EventId(from_seed("sevt_", self.stamp.seed, self._ids))

    def at(self) -> Timestamp:
        """Time of the next event: ``max(now, last + 1 us)``."""
        now = self._now = self._now or from_epoch_us(self.stamp.now_us)
        return now if now > self.state.last_at else after(self.state.last_at)

    def add[E: PublicEvent | InternalEvent](
        self, make: Callable[[EventId, Timestamp], E], *, thread: ThreadId | None = None
    ) -> E:
        """Add the event that ``make`` builds from a fresh id and the next time."""
        event = make(self.id(), self.at())
        self.entries.append(Entry(thread=thread, event=event))
        # evolve gives None only before internal.session_created; a draft always has a state.
        self.state = cast("SessionState", evolve(self.state, event))
        return event

    def decision(self, echoes: tuple[ClientEvent, ...] = ()) -> Decision:
        """Close the record."""
        if not self.entries:
            return Decision(record=None, state=self.state, echoes=echoes)
        record = Record(id=RecordId(from_seed("rec_", self.stamp.seed)), entries=tuple(self.entries))
        return Decision(record=record, state=self.state, echoes=echoes)


def begin(stamp: Stamp, make: Callable[[EventId, Timestamp], SessionCreated]) -> Draft:
    """A draft whose first event creates the session."""
    first_id = EventId(from_seed("sevt_", stamp.seed, 1))
    created = make(first_id, from_epoch_us(stamp.now_us))
    state = cast("SessionState", evolve(None, created))
    return Draft(state=state, stamp=stamp, entries=[Entry(event=created)], _ids=1)
