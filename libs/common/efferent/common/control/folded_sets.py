"""The newest record of everything in a set, kept between reads: a set that was read before costs what is new in it."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from efferent.common.control.kinds import kind_at
from efferent.common.domain.control.aggregate import ControlRecord, UnreadableRecord
from efferent.common.ports import ControlLog, LogUnreadable

RECORDS_MAX: Final = 20_000
"""Records of all sets together that are kept; the sets that were not read for the longest time make room."""

Newest = dict[str, ControlRecord[Any]]
"""Records by subject; deleted aggregates are not among them."""


@dataclass(slots=True)
class _Kept:
    newest: Newest = field(default_factory=dict)
    sequence: int = 0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class FoldedSets:
    """Reads sets of one control log."""

    def __init__(self, control_log: ControlLog, *, records_max: int = RECORDS_MAX) -> None:
        self._control_log = control_log
        self._records_max = records_max
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def newest(self, pattern: str) -> tuple[Newest, int]:
        """What a set has now, and the sequence of its newest record. Raises LogUnavailable, LogUnreadable."""
        kept = self._kept.setdefault(pattern, _Kept())
        self._kept.move_to_end(pattern)
        async with kept.reading:
            async for raw in self._control_log.read(pattern, after=kept.sequence):
                kind = kind_at(raw.subject)
                if kind is not None:
                    try:
                        record = kind.decode(raw.payload)
                    except UnreadableRecord as error:
                        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error}") from error
                    if kind.is_deleted(record):
                        kept.newest.pop(raw.subject, None)
                    else:
                        kept.newest[raw.subject] = record
                kept.sequence = raw.sequence
            found = dict(kept.newest), kept.sequence
        self._make_room()
        return found

    def _make_room(self) -> None:
        records = sum(len(kept.newest) + 1 for kept in self._kept.values())
        while records > self._records_max and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            records -= len(oldest.newest) + 1
