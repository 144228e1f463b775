"""Records: what one append writes. The events of a record are true together."""

from typing import Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.events import Event
from efferent.common.domain.ids import RecordId, ThreadId

Side = Literal["in", "out"]
"""``in``: appended on behalf of a client. ``out``: appended by the platform."""


class Entry(Shape):
    """One event and the thread that it belongs to (None = the primary thread)."""

    thread: ThreadId | None = None
    event: Event


class Record(Shape):
    """One atomic append of 1..n events."""

    id: RecordId
    entries: tuple[Entry, ...]


class StoredRecord(Shape):
    """A record with its place in the log."""

    sequence: int
    """Sequence in the stream: orders everything, has gaps within one session."""
    previous: int
    """Sequence of the session's record before this one; 0 for the first."""
    side: Side
    record: Record
