"""What clients see of a record: its public events, each with its position, and the bytes of a stream's frame.

Looks into a record's JSON without making domain objects of it: every committed record of a session that somebody reads
live passes here (``record_folding`` reads those of all sessions). ``internal.*`` events never leave this module.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from efferent.common.codec import VERSION
from efferent.common.domain.record import StoredRecord
from efferent.common.ports import LogUnreadable

DELETED: Final = "session.deleted"
"""The type of a session's last event, which ends its streams."""
_INTERNAL_PREFIX: Final = "internal."


class Position(NamedTuple):
    """Where an event stands: the sequence of its record and the number of its entry there."""

    sequence: int
    entry: int

    def __str__(self) -> str:
        return f"{self.sequence}-{self.entry}"


BEFORE_ALL: Final = Position(0, 0)


def parse_position(text: str) -> Position | None:
    """Read ``<sequence>-<entry>``; None when the text is anything else."""
    sequence, dash, entry = text.partition("-")
    if not dash or len(text) > 40 or not all(part.isascii() and part.isdigit() for part in (sequence, entry)):
        return None
    return Position(int(sequence), int(entry))


class PublicEvent(NamedTuple):
    """One event that clients may see, in the API's own shape."""

    position: Position
    thread: str | None
    """None: the primary thread, which is also what the session's own stream and list show."""
    type: str
    id: str
    processed_at: str
    body: dict[str, Any] | bytes
    """The event as it stands in the record: parsed, or already written as JSON."""

    def json(self) -> bytes:
        """The event as clients read it."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


def parse_record(payload: bytes) -> list[dict[str, Any]]:
    """The entries of a record's payload, claim check resolved before. Raises LogUnreadable."""
    try:
        raw: dict[str, Any] = orjson.loads(payload)
        if raw["v"] != VERSION:
            raise LogUnreadable(f"a record of version {raw['v']}; this release knows {VERSION}")
        entries: list[dict[str, Any]] = raw["entries"]
        return entries
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LogUnreadable(f"not a record: {type(error).__name__}") from error


def public_events(sequence: int, entries: Iterable[dict[str, Any]]) -> list[PublicEvent]:
    """The events of these entries that clients may see, in order. Raises LogUnreadable."""
    try:
        return [
            PublicEvent(
                Position(sequence, index),
                entry.get("thread"),
                event["type"],
                event["id"],
                event["processed_at"],
                event,
            )
            for index, entry in enumerate(entries)
            if not (event := entry["event"])["type"].startswith(_INTERNAL_PREFIX)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise LogUnreadable(f"not an event: {type(error).__name__}") from error


def events_of_stored(stored: StoredRecord) -> Iterator[PublicEvent]:
    """The same, of a record that was read from the log as domain objects."""
    for index, entry in enumerate(stored.record.entries):
        event = entry.event
        if event.type.startswith(_INTERNAL_PREFIX):
            continue
        yield PublicEvent(
            position=Position(stored.sequence, index),
            thread=entry.thread,
            type=event.type,
            id=event.id,
            processed_at=event.processed_at or "",
            body=event.model_dump_json().encode(),
        )


def frame(event: PublicEvent) -> bytes:
    """The event as one frame of a stream; ``id:`` is what ``Last-Event-ID`` resumes after."""
    return b"event: message\nid: %d-%d\ndata: %b\n\n" % (*event.position, event.json())


@dataclass(frozen=True, slots=True)
class PreviewFrame:
    """A preview as the brain published it, ready to be written."""

    after: int
    """Sequence of the record that it follows."""
    thread: str | None
    event_id: str
    starts: str | None
    """The type that the preview opens; None when it continues one that is open."""
    frame: bytes


def parse_preview(payload: bytes) -> PreviewFrame | None:
    """Read a line ``{"after", "thread", "event"}``; None when it is not such a thing (previews are best effort)."""
    try:
        raw: dict[str, Any] = orjson.loads(payload)
        after, thread, event = raw["after"], raw["thread"], raw["event"]
        if not isinstance(after, int):
            return None
        starts: str | None = None
        match event["type"]:
            case "event_start":
                event_id, starts = event["event"]["id"], event["event"]["type"]
            case "event_delta":
                event_id = event["event_id"]
            case _:
                return None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    data = b"event: message\ndata: %b\n\n" % orjson.dumps(event)
    return PreviewFrame(after=after, thread=thread, event_id=event_id, starts=starts, frame=data)


def join(frames: Sequence[bytes]) -> bytes:
    """Several frames as one write."""
    return frames[0] if len(frames) == 1 else b"".join(frames)
