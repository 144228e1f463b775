"""A stream in memory: sequences, subjects, fences, purges and waiting for what comes. What the twins are made from."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

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
    _indexed: dict[str, dict[int, Kept]] = field(default_factory=dict)
    """By exact subject, and by the pattern that stands for its last token: what fences and reads ask for most."""
    _waiters: list[asyncio.Event] = field(default_factory=list)

    def append(self, subject: str, payload: bytes, *, message_id: str, fence: str, expected: int) -> int:
        """Append when the fence holds, or find the same append done before. Raises LogConflict."""
        newest = self.last(fence)
        last = newest.raw.sequence if newest is not None else 0
        if last != expected:
            newer = self.matching(fence, after=expected)
            if newer and newer[0].message_id == message_id:
                return newer[0].raw.sequence
            raise LogConflict(last)
        self.end += 1
        kept = Kept(RawRecord(self.end, subject, payload, expected), message_id)
        self._records[self.end] = kept
        for pattern in _indexes(subject):
            self._indexed.setdefault(pattern, {})[self.end] = kept
        self._wake()
        return self.end

    def matching(self, pattern: str, *, after: int = 0) -> list[Kept]:
        """The records that match with a sequence greater than ``after``, in order."""
        found = list(takewhile(lambda kept: kept.raw.sequence > after, self._newest_first(pattern)))
        return [kept for kept in reversed(found) if matches(pattern, kept.raw.subject)]

    def last(self, pattern: str) -> Kept | None:
        """The newest record that matches."""
        return next((kept for kept in self._newest_first(pattern) if matches(pattern, kept.raw.subject)), None)

    def get(self, sequence: int) -> Kept | None:
        """The record at a sequence; None when it was purged or never was."""
        return self._records.get(sequence)

    def purge(self, pattern: str) -> None:
        """Remove what matches."""
        for kept in self.matching(pattern):
            self._remove(kept)
        self._wake()

    def erase(self, sequence: int) -> None:
        """Remove one record, if it is there."""
        if (kept := self._records.get(sequence)) is not None:
            self._remove(kept)
        self._wake()

    def _remove(self, kept: Kept) -> None:
        del self._records[kept.raw.sequence]
        for index in _indexes(kept.raw.subject):
            del self._indexed[index][kept.raw.sequence]

    def watch(self) -> asyncio.Event:
        """An event that is set at each change, until ``unwatch``."""
        event = asyncio.Event()
        self._waiters.append(event)
        return event

    def unwatch(self, event: asyncio.Event) -> None:
        """Stop watching."""
        self._waiters.remove(event)

    def _newest_first(self, pattern: str) -> Iterator[Kept]:
        """Every record that can match, and maybe others."""
        is_indexed = "*" not in pattern.removesuffix(".*") and not pattern.endswith(">")
        return reversed((self._indexed.get(pattern, {}) if is_indexed else self._records).values())

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()


def _indexes(subject: str) -> tuple[str, str]:
    return subject, f"{subject.rpartition('.')[0]}.*"
