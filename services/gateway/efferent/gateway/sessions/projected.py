"""What the projection takes in, and what can be asked of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.domain.state import SessionState
from efferent.common.record_folding import ListedEvent
from efferent.gateway.sessions.public_events import Position

Order = Literal["asc", "desc"]


class Folded(NamedTuple):
    """A session's state and the sequence of the last record in it."""

    state: SessionState
    sequence: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """A session that was deleted."""

    session_id: SessionId
    workspace_id: WorkspaceId
    sequence: int
    """Sequence of its last record."""
    last: bytes
    """Its ``session.deleted`` as clients read it."""


@dataclass(slots=True)
class Changes:
    """What one transaction writes."""

    applied: int
    """Sequence of the last record; 0 when the changes come from elsewhere and leave it as it is."""
    records: int = 0
    removals: int = 0
    """How many removals, by tombstones or deletions, are among the changes."""
    events: list[tuple[SessionId, int, Sequence[ListedEvent]]] = field(default_factory=list)
    """The public events of each record, with its sequence."""
    states: dict[SessionId, Folded] = field(default_factory=dict)
    deleted: set[SessionId] = field(default_factory=set)
    """Sessions of which nothing is to be kept."""
    deletions: dict[SessionId, Deletion] = field(default_factory=dict)
    """Deletions that have still to be carried out."""
    deletions_done: set[SessionId] = field(default_factory=set)

    def keep(self, session_id: SessionId, folded: Folded, listed: Iterable[tuple[int, Sequence[ListedEvent]]]) -> None:
        """The session looks like this after records with these sequences and public events."""
        self.events.extend((session_id, sequence, events) for sequence, events in listed if events)
        self.states[session_id] = folded

    def delete(self, session_id: SessionId, deletion: Deletion | None) -> None:
        """Nothing of the session is to be kept; ``deletion``: what has still to be done for that."""
        self.states.pop(session_id, None)
        self.deleted.add(session_id)
        if deletion is not None:
            self.deletions[session_id] = deletion

    def merge(self, later: "Changes") -> None:
        """Take in what came after."""
        self.applied = max(self.applied, later.applied)
        self.records += later.records
        self.removals += later.removals
        self.events.extend(later.events)
        self.states.update(later.states)
        for session_id in later.deleted:
            self.states.pop(session_id, None)
        self.deleted |= later.deleted
        self.deletions.update(later.deletions)
        self.deletions_done |= later.deletions_done


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Bounds on a timestamp as the API writes it; None leaves a side open."""

    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is no bound at all."""
        return self == TimeRange()

    def holds(self, timestamp: str) -> bool:
        """Whether the timestamp is within the bounds."""
        return (
            (self.gt is None or timestamp > self.gt)
            and (self.gte is None or timestamp >= self.gte)
            and (self.lt is None or timestamp < self.lt)
            and (self.lte is None or timestamp <= self.lte)
        )

    def conditions(self, column: str) -> list[tuple[str, str]]:
        """SQL conditions with their values."""
        bounds = ((">", self.gt), (">=", self.gte), ("<", self.lt), ("<=", self.lte))
        return [(f"{column} {operator} ?", value) for operator, value in bounds if value is not None]


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A page of a session's events; without types every type is meant."""

    session_id: SessionId
    thread: str | None
    order: Order
    limit: int
    after: Position | None = None
    until: int = 0
    """Sequence of the last record that counts."""
    types: frozenset[str] = frozenset()
    processed_at: TimeRange = TimeRange()

    def starting_after(self, position: Position) -> "EventQuery":
        """The same query from another place on."""
        return replace(self, after=position)


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """A page of a workspace's sessions, sorted by creation. ``backwards``: the page that ends before ``after``."""

    workspace_id: WorkspaceId
    order: Order
    limit: int
    after: tuple[str, str] | None = None
    """``created_at`` and id of the session that the page begins after (or ends before)."""
    backwards: bool = False
    agent_id: str | None = None
    agent_version: int | None = None
    deployment_id: str | None = None
    memory_store_id: str | None = None
    statuses: frozenset[str] = frozenset()
    include_archived: bool = False
    created_at: TimeRange = TimeRange()
