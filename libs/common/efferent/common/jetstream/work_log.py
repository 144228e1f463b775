"""The work items of self-hosted environments on JetStream: stream ``WORK``, the newest state of each item.

A new item is fenced on all items of its session, every change on the item itself: so a session never gets two items
from two writers that each saw none.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from efferent.common.domain.ids import EnvironmentId, SessionId, WorkId
from efferent.common.domain.resources.work import WorkItem
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.appending import Append, Appender, own_message_id
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.ports import LogUnreadable, RawRecord

STOPPED_KEPT_S: Final = 7 * 24 * 3_600
"""How long a stopped item can still be read."""


@dataclass(frozen=True, slots=True)
class StoredWork:
    """An item and the sequence of its newest record."""

    item: WorkItem
    sequence: int


def decode(raw: RawRecord) -> StoredWork:
    """Read a record of the stream. Raises LogUnreadable."""
    try:
        return StoredWork(WorkItem.model_validate_json(raw.payload), raw.sequence)
    except ValidationError as error:
        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: not a work item of a version that is known") from error


class JetStreamWorkLog:
    """Stream ``WORK``."""

    def __init__(
        self, connection: Connection, *, stopped_kept_s: int = STOPPED_KEPT_S, deadline_s: float = api.DEADLINE_S
    ) -> None:
        self._reader = StreamReader(connection, subjects.WORK, deadline_s=deadline_s)
        self._appender = Appender(connection, self._reader, deadline_s=deadline_s)
        self._stopped_kept_s = stopped_kept_s

    async def add(self, item: WorkItem, *, expected: int) -> StoredWork:
        """Write a new item while the newest record of any item of its session is still ``expected`` (0: there is none).

        Raises LogConflict, LogUnavailable.
        """
        return await self._append(item, subjects.work_fence(item.environment_id, item.session_id), expected)

    async def change(self, item: WorkItem, *, expected: int) -> StoredWork:
        """Write an item's new state while its newest record is still ``expected``.

        Raises LogConflict, LogUnavailable.
        """
        return await self._append(item, _subject(item), expected)

    async def find(self, environment_id: EnvironmentId, work_id: WorkId) -> StoredWork | None:
        """The item of this environment with this id. Raises LogUnavailable, LogUnreadable."""
        newest = await self._reader.last(subjects.work_item(environment_id, work_id))
        return decode(newest.raw) if newest is not None else None

    async def of_session(self, environment_id: EnvironmentId, session_id: SessionId) -> list[StoredWork]:
        """Every item of the session, the one that changed last at the end. Raises LogUnavailable, LogUnreadable."""
        pages = self._reader.pages(subjects.work_fence(environment_id, session_id), after=0, reach=None)
        return [decode(raw) async for page in pages for raw in page]

    async def _append(self, item: WorkItem, fence: str, expected: int) -> StoredWork:
        payload = item.model_dump_json().encode()
        ttl_s = self._stopped_kept_s if item.state == "stopped" else None
        append = Append(_subject(item), payload, own_message_id(), fence, expected, ttl_s)
        return StoredWork(item, await self._appender.append(append))


def _subject(item: WorkItem) -> str:
    return subjects.work(item.environment_id, item.session_id, item.id)
