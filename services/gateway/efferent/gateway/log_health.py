"""Whether the log takes appends, as far as this gateway can know without writing.

``/readyz`` asks each stream with an append that it must refuse. A log that has just failed an append is in doubt until
it takes one: then a record of its own, which nobody reads, is appended too.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record, Side, StoredRecord
from efferent.common.jetstream import probing, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.ports import ControlLog, LogConflict, LogUnavailable, RawRecord, SessionLog

DISK_FREE_BYTES_MIN: Final = 16 * 1024 * 1024
"""Free space of the data folder below which appends are about to fail."""

_PROBE: Final = subjects.control("probe", "readiness")


class LogHealth:
    """What the appends of this gateway have come to, and the check made of it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.in_doubt = False

    async def check(self, connection: Connection, control_log: ControlLog) -> str | None:
        """None when the log takes appends."""
        if (free := _free_bytes(self._data_dir)) is not None and free < DISK_FREE_BYTES_MIN:
            return f"the disk of the data folder is full: {free} bytes are free"
        if unwilling := await probing.unwilling_streams(connection):
            return f"the log does not take appends ({', '.join(unwilling)})"
        if not self.in_doubt:
            return None
        try:
            newest = await control_log.last(_PROBE)
            await control_log.append(_PROBE, b"{}", expected=newest.sequence if newest is not None else 0)
        except LogConflict:  # another gateway does the same
            return None
        except LogUnavailable:
            return "the log does not take appends"
        return None


class WatchedControlLog:
    """A control log whose appends are watched; see the port ``ControlLog``."""

    def __init__(self, inner: ControlLog, health: LogHealth) -> None:
        self._inner = inner
        self._health = health

    async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
        """Append one payload; see the port."""
        try:
            sequence = await self._inner.append(subject, payload, expected=expected, fence=fence)
        except LogUnavailable:
            self._health.in_doubt = True
            raise
        self._health.in_doubt = False
        return sequence

    async def last(self, subject: str) -> RawRecord | None:
        """The newest record of exactly this subject; see the port."""
        return await self._inner.last(subject)

    async def next(self, subject: str, *, after: int) -> RawRecord | None:
        """The first record of the subject after a sequence; see the port."""
        return await self._inner.next(subject, after=after)

    def read(self, pattern: str, *, after: int = 0) -> AsyncIterator[RawRecord]:
        """All records whose subject matches; see the port."""
        return self._inner.read(pattern, after=after)

    async def erase(self, sequence: int) -> None:
        """Remove one record; see the port."""
        await self._inner.erase(sequence)

    async def last_sequence(self) -> int:
        """Sequence of the newest record; see the port."""
        return await self._inner.last_sequence()


class WatchedSessionLog:
    """A session log whose appends are watched; see the port ``SessionLog``."""

    def __init__(self, inner: SessionLog, health: LogHealth) -> None:
        self._inner = inner
        self._health = health

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        """Append one record; see the port."""
        try:
            sequence = await self._inner.append(session_id, side, record, expected=expected)
        except LogUnavailable:
            self._health.in_doubt = True
            raise
        self._health.in_doubt = False
        return sequence

    def read(self, session_id: SessionId, *, after: int = 0, reach: int | None = None) -> AsyncIterator[StoredRecord]:
        """The session's records; see the port."""
        return self._inner.read(session_id, after=after, reach=reach)

    async def last_sequence(self, session_id: SessionId) -> int:
        """Sequence of the session's newest record; see the port."""
        return await self._inner.last_sequence(session_id)

    async def purge(self, session_id: SessionId) -> None:
        """Remove every record of the session; see the port."""
        await self._inner.purge(session_id)


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
