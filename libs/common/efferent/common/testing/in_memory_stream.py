"""A stream in memory: sequences, subjects, fences, purges and waiting for what comes. What the twins are made from."""

import asyncio
from dataclasses import dataclass, field

from efferent.common.ports import LogConflict, RawRecord


@dataclass(frozen=True, slots=True)
class Kept:
    """A record with the id that finds it again."""

    raw: RawRecord
    message_id: str


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern with the wildcards ``*`` (one token) and ``>`` (the rest, at least one)."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(want in ("*", have) for want, have in zip(wanted, given, strict=True))


@dataclass(slots=True)
class InMemoryStream:
    """The records of one stream. Shared by all logs, feeds and consumers that are to see each other."""

    end: int = 0
    """The last sequence that was given; a purge does not take it back."""
    _records: dict[int, Kept] = field(default_factory=dict)
    _by_parent: dict[str, dict[int, Kept]] = field(default_factory=dict)
    _waiters: list[asyncio.Event] = field(default_factory=list)

    def append(self, subject: str, payload: bytes, *, message_id: str, fence: str, expected: int) -> int:
        """Append when the fence holds, or find the same append done before. Raises LogConflict."""
        fenced = self.matching(fence)
        last = fenced[-1].raw.sequence if fenced else 0
        if last != expected:
            first = next((kept for kept in fenced if kept.raw.sequence > expected), None)
            if first is not None and first.message_id == message_id:
                return first.raw.sequence
            raise LogConflict(last)
        self.end += 1
        kept = Kept(RawRecord(self.end, subject, payload, expected), message_id)
        self._records[self.end] = kept
        self._by_parent.setdefault(_parent(subject), {})[self.end] = kept
        self._wake()
        return self.end

    def matching(self, pattern: str, *, after: int = 0) -> list[Kept]:
        """The records that match with a sequence greater than ``after``, in order."""
        is_narrow = not ("*" in _parent(pattern) or pattern.endswith(">"))
        source = self._by_parent.get(_parent(pattern), {}) if is_narrow else self._records
        return [
            kept for sequence, kept in source.items() if sequence > after and matches(pattern, kept.raw.subject)
        ]

    def get(self, sequence: int) -> Kept | None:
        """The record at a sequence; None when it was purged or never was."""
        return self._records.get(sequence)

    def purge(self, pattern: str) -> None:
        """Remove what matches."""
        for kept in self.matching(pattern):
            del self._records[kept.raw.sequence]
            del self._by_parent[_parent(kept.raw.subject)][kept.raw.sequence]
        self._wake()

    def watch(self) -> asyncio.Event:
        """An event that is set at each change, until ``unwatch``."""
        event = asyncio.Event()
        self._waiters.append(event)
        return event

    def unwatch(self, event: asyncio.Event) -> None:
        """Stop watching."""
        self._waiters.remove(event)

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()


def _parent(subject: str) -> str:
    return subject.rpartition(".")[0]
