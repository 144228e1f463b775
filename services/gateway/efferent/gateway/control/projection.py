"""The control plane's resources, projected for lists: follows the log, answers only when it has come far enough.

One thread writes and one reads; neither blocks the event loop. Retrieving one resource does not come here: that reads
the aggregate itself.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from efferent.common.control.aggregates import SetQuestion
from efferent.common.control.kinds import place_of
from efferent.common.domain.control.aggregate import Kind, Recorded, SetFacts, UnreadableRecord
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import ControlLog, LogUnavailable, RawRecord
from efferent.gateway.control import lean_records, tables
from efferent.gateway.control.tables import Item, ListQuery, Row
from efferent.gateway.errors import Overloaded
from efferent.gateway.progress import Progress

CATCH_UP_PAUSE_S: Final = 0.1

_log = logging.getLogger(__name__)


class ControlProjection:
    """The projection and its file."""

    def __init__(self, path: Path, control_log: ControlLog, *, behind_wait_s: float) -> None:
        self._path = path
        self._control_log = control_log
        self._behind_wait_s = behind_wait_s
        self._write_thread = ThreadPoolExecutor(1, "control-write")
        self._read_thread = ThreadPoolExecutor(1, "control-read")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._stream = ""
        self._unreadable = 0
        self.progress = Progress()

    async def open(self, stream: str) -> None:
        """Open the file, or begin a new one when it was not made from this very stream. Raises LogUnavailable."""
        self._stream = stream
        applied = await self._in_write_thread(self._open_files)
        belongs = applied.stream in (None, stream) and applied.sequence <= await self._control_log.last_sequence()
        if not belongs or applied.unreadable:
            await self.begin_again()
        else:
            self.progress.reset(applied.sequence)

    async def begin_again(self) -> None:
        """Throw the file away; what follows must be the log from its start."""
        _log.info("the control projection is built again")
        await self._in_write_thread(self._create_files)
        self._unreadable = 0
        self.progress.reset()

    async def close(self) -> None:
        """Close the file; waits for what is being written."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._write_thread, self._close_files)
        self._write_thread.shutdown(wait=False)
        self._read_thread.shutdown(wait=False)

    async def apply(self, records: Sequence[RawRecord]) -> int:
        """Take in the next records of ``CONTROL``; returns how many of them could not be read.

        Raises sqlite3.Error; ``progress`` then says where to go on.
        """
        records = [raw for raw in records if raw.sequence > self.progress.applied]
        if not records:
            return 0
        try:
            unreadable = await self._in_write_thread(partial(self._apply, records))
        except sqlite3.OperationalError:  # no space, no permission: the file itself is sound
            raise
        except sqlite3.DatabaseError:
            await self.begin_again()
            raise
        self.progress.advance(records[-1].sequence)
        return unreadable

    async def catch_up(self) -> None:
        """Return when everything that is in the log by now has been applied. Raises Overloaded, LogUnavailable."""
        await self.progress.reach(await self._control_log.last_sequence(), self._behind_wait_s)

    async def catch_up_however_long(self, stalled_after_s: float) -> None:
        """The same for a start, which may have much to apply: given up only when nothing is applied for so long.

        Raises Overloaded, LogUnavailable.
        """
        loop = asyncio.get_running_loop()
        applied, since_s = self.progress.applied, loop.time()
        while True:
            try:
                await self.catch_up()
            except (Overloaded, LogUnavailable):
                if self.progress.applied != applied:
                    applied, since_s = self.progress.applied, loop.time()
                elif loop.time() - since_s >= stalled_after_s:
                    raise
                await asyncio.sleep(CATCH_UP_PAUSE_S)
            else:
                return

    async def resources(self, query: ListQuery) -> tuple[list[Item], bool]:
        """One page, and whether there are more behind it. Raises Overloaded, LogUnavailable."""
        await self.catch_up()
        items = await self._read(lambda db: tables.list_resources(db, replace(query, limit=query.limit + 1)))
        return items[: query.limit], len(items) > query.limit

    async def versions(
        self, kind: str, identifier: str, *, below: int | None, limit: int
    ) -> tuple[list[tuple[int, bytes]], bool]:
        """One page of a resource's versions, newest first, and whether there are more. Raises Overloaded."""
        await self.catch_up()
        found = await self._read(lambda db: tables.list_versions(db, kind, identifier, below=below, limit=limit + 1))
        return found[:limit], len(found) > limit

    async def resource(self, kind: str, workspace_id: WorkspaceId, identifier: str) -> tuple[str | None, bytes] | None:
        """The parent and the body of one resource, for those whose subject the id alone does not tell.

        Raises Overloaded, LogUnavailable.
        """
        await self.catch_up()
        return await self._read(lambda db: tables.read_resource(db, kind, workspace_id, identifier))

    async def sum_of_facet(self, kind: str, workspace_id: WorkspaceId, facet: str) -> int:
        """What a facet that is a number adds up to over a workspace. Raises Overloaded, LogUnavailable."""
        await self.catch_up()
        return await self._read(lambda db: tables.sum_of_facet(db, kind, workspace_id, facet))

    async def newest_of_parents(
        self, kind: str, parents: Sequence[str], facets: Mapping[str, str]
    ) -> dict[str, Timestamp]:
        """When each parent got its newest resource of a kind with these facets. Raises Overloaded, LogUnavailable."""
        await self.catch_up()
        return await self._read(lambda db: tables.newest_of_parents(db, kind, parents, facets))

    async def set_facts(self, question: SetQuestion) -> tuple[SetFacts, int]:
        """What is known of a set, and the sequence of the set at which it holds. Raises Overloaded, LogUnavailable."""
        await self.catch_up()
        return await self._read(
            lambda db: tables.set_facts(
                db,
                family=question.kind.subject_family,
                kind=question.kind.name,
                set_id=question.set_id,
                identifier=question.identifier,
                name=question.name,
            )
        )

    # --- in the threads -----------------------------------------------------------------------------------------------

    async def _in_write_thread[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._write_thread, work)

    async def _read[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, lambda: work(self._open_reader()))

    def _open_files(self) -> tables.Applied:
        self._writer = tables.open_for_writing(self._path)
        self._reader = tables.open_for_reading(self._path)
        return tables.applied(self._writer)

    def _create_files(self) -> None:
        self._close_files()
        self._writer = tables.create(self._path)
        self._reader = tables.open_for_reading(self._path)

    def _close_files(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise RuntimeError("the projection is not open")
        return self._writer

    def _open_reader(self) -> sqlite3.Connection:
        if self._reader is None:
            raise RuntimeError("the projection is not open")
        return self._reader

    def _apply(self, records: Sequence[RawRecord]) -> int:
        rows, sets, unreadable = list[Row](), dict[tuple[str, str], int](), 0
        for raw in records:
            place = place_of(raw.subject)
            if place is None:
                continue
            if place.set_id is not None:
                sets[place.family, place.set_id] = raw.sequence
            if place.kind is None:
                continue
            try:
                rows += rows_of(place.kind, raw)
            except UnreadableRecord as error:
                unreadable += 1
                _log.error(
                    "a record of the control plane is not readable and is not listed",
                    extra={"sequence": raw.sequence, "subject": raw.subject, "reason": str(error)},
                )
                continue
        self._unreadable += unreadable
        tables.apply(
            self._open_writer(),
            rows,
            sets=sets,
            stream=self._stream,
            sequence=records[-1].sequence,
            unreadable=self._unreadable,
        )
        return unreadable


def rows_of(kind: Kind[Any], raw: RawRecord) -> list[Row]:
    """What the tables keep of a record of this kind. Raises UnreadableRecord."""
    if (lean := lean_records.read(kind, raw.payload)) is not None:
        return [_row(kind, lean, lean.shown, raw.sequence)]
    record = kind.decode(raw.payload)
    rows = [_row(kind, record, kind.shown(record.data), raw.sequence)]
    if (derived := kind.derived(record)) is not None:
        also = record.model_copy(update={"data": derived.data})
        rows.append(_row(derived.kind, also, derived.kind.shown(derived.data), raw.sequence))
    return rows


def _row(kind: Kind[Any], record: Recorded, shown: bytes, sequence: int) -> Row:
    data, workspace_id = record.data, record.workspace_id
    return Row(
        kind=kind.name,
        id=data.id,
        workspace_id=workspace_id,
        set_id=kind.set_of(data, workspace_id),
        is_set=kind.within == "itself",
        parent=kind.parent(data),
        created_at=data.created_at,
        archived_at=data.archived_at,
        version=kind.version(data),
        keeps_versions=kind.keeps_versions,
        name=kind.unique_name(data),
        facets=kind.facets(data),
        sequence=sequence,
        body=shown,
        deleted=kind.is_deleted(record),
    )
