"""Keeps the projection's file and the folded states in step with the log.

Two threads besides the event loop: one writes (several records in one transaction while there is a load, soon after
the last one otherwise), one reads. States of recently seen sessions stay in memory and are shared with
``store.py``; a state that is not yet in the file is never dropped from memory.
"""

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import SessionId
from efferent.common.domain.state import SessionState
from efferent.common.ports import LogUnreadable, SessionLog
from efferent.common.record_folding import SortedRecord, fold_records
from efferent.gateway import sqlite_file
from efferent.gateway.errors import Overloaded
from efferent.gateway.progress import Progress
from efferent.gateway.sessions.event_index import EventIndex, is_damage
from efferent.gateway.sessions.index_writer import IndexWriter
from efferent.gateway.sessions.projected import Changes, Deletion, EventQuery, Folded, SessionQuery
from efferent.gateway.sessions.public_events import DELETED, Position, parse_record
from efferent.gateway.sessions.states import SessionStates

RECORDS_WAITING_MAX: Final = 20_000
"""Records that wait to be written; the feed waits while there are more."""
WRITE_DELAY_S: Final = 0.1
"""How long a record may wait for others to share its transaction, unless somebody asks for it."""
REACH_DEADLINE_S: Final = 5.0
GONE_MAX: Final = 100_000
"""Deleted sessions remembered, so that a straggling record does not bring one back."""

_log = logging.getLogger(__name__)


class CommittedRecord(NamedTuple):
    """A record as the feed brought it."""

    session_id: SessionId
    sequence: int
    previous: int
    content: SortedRecord


class ProjectionBehind(Overloaded):
    """The projection cannot answer now: it is being built again, or it has not come far enough."""


class SessionProjection:
    """The projection of all sessions. ``apply`` is fed by one caller; everything else may be called by anybody."""

    def __init__(
        self,
        path: Path,
        log: SessionLog,
        *,
        write_delay_s: float = WRITE_DELAY_S,
        reach_deadline_s: float = REACH_DEADLINE_S,
    ) -> None:
        self.states = SessionStates()
        self.progress = Progress()
        """How far lists reflect the stream."""
        self._path = path
        self._log = log
        self._write_delay_s = write_delay_s
        self._reach_deadline_s = reach_deadline_s
        self._reader: EventIndex | None = None
        self._writer: IndexWriter | None = None
        self._writing_index: EventIndex | None = None
        self._read_thread: ThreadPoolExecutor | None = None
        self.damaged = asyncio.Event()
        """Set when the file turns out to be worth nothing: it has to be closed and opened anew."""
        self._waiting_records = 0
        self._waiting_removals = 0
        self._progress = asyncio.Event()
        self._gone: OrderedDict[SessionId, Deletion | None] = OrderedDict()
        """Deleted sessions; with what is known of a deletion that may not be finished."""

    async def open(self, stream: str, *, anew: bool = False) -> int:
        """Open the file of this stream, or make it anew; returns the sequence to follow the stream from."""
        self.damaged.clear()
        if anew:
            sqlite_file.delete(self._path)
        self._waiting_records = self._waiting_removals = 0
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="session-index-reader")
        self._writing_index = await asyncio.to_thread(EventIndex.open, self._path, stream)
        self._reader = await asyncio.to_thread(EventIndex.open, self._path, stream)
        applied = self._writing_index.applied()
        self.progress.reset(applied)
        loop = asyncio.get_running_loop()
        self._writer = IndexWriter(
            self._writing_index,
            self._write_delay_s,
            lambda changes: loop.call_soon_threadsafe(self._wrote, changes),
            lambda _: loop.call_soon_threadsafe(self.damaged.set),
        )
        self._writer.start()
        return applied

    async def close(self) -> None:
        """Write what waits and close the file. Safe to call twice and before ``open``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.close)
        if self._read_thread is not None:
            self._read_thread.shutdown(wait=True)
        for index in (self._reader, self._writing_index):
            if index is not None:
                index.close()
        self._reader = self._writing_index = None

    async def apply(self, records: Sequence[CommittedRecord], *, until: int) -> None:
        """Take in committed records, in the order of the log; there are no others up to ``until`` that can be read.

        Raises LogUnavailable.
        """
        if self._writer is None:
            return
        by_session: dict[SessionId, list[CommittedRecord]] = {}
        for record in records:
            by_session.setdefault(record.session_id, []).append(record)
        await self._load_states(by_session)
        changes = Changes(applied=until, records=len(records))
        for session_id, own in by_session.items():
            folded = self._folded_together(session_id, own)
            if folded is None:
                await self._apply_one_by_one(own, changes)
            else:
                changes.keep(session_id, folded, [(record.sequence, record.content.listed) for record in own])
        for session_id in changes.states.keys() & self._gone.keys():  # removed while others were waited for
            changes.delete(session_id, None)
        for session_id, folded in changes.states.items():
            self.states.will_write(session_id, folded.sequence)
        self._waiting_records += len(records)
        self._writer.add(changes)
        while self._waiting_records > RECORDS_WAITING_MAX:
            self._progress.clear()
            await self._progress.wait()

    async def reach(self, sequence: int, *, deadline_s: float | None = None) -> None:
        """Wait until lists reflect the stream up to this sequence. Raises Overloaded."""
        if self.progress.applied >= sequence:
            return
        if self._writer is None:
            raise ProjectionBehind
        self._writer.hurry(sequence)
        await self.progress.reach(sequence, self._reach_deadline_s if deadline_s is None else deadline_s)

    async def stored(self, session_ids: Sequence[SessionId]) -> dict[SessionId, Folded]:
        """States as the file has them."""
        return dict(await self._read(lambda index: index.states(session_ids)))

    async def positions(self, query: EventQuery) -> Sequence[Position]:
        """Where the events of a page stand."""
        return await self._read(lambda index: index.positions(query))

    async def sessions(self, query: SessionQuery) -> Sequence[Folded]:
        """The sessions of a page."""
        return await self._read(lambda index: index.sessions(query))

    async def deletions(self) -> Sequence[Deletion]:
        """Deletions that have still to be carried out."""
        return await self._read(lambda index: index.deletions())

    def remove(self, deletions: Iterable[Deletion], *, is_purged: bool = False) -> None:
        """These sessions are gone: their tombstones say so, though their last records may never come.

        ``is_purged``: nothing is left to be done for them.
        """
        gone = {deletion.session_id: None if is_purged else deletion for deletion in deletions}
        for session_id in gone:
            self.states.forget(session_id)
        self._gone.update(gone)
        while len(self._gone) > GONE_MAX:
            self._gone.popitem(last=False)
        if gone and self._writer is not None:
            done = set(gone) if is_purged else set()
            self._waiting_removals += 1
            self._writer.add(Changes(applied=0, removals=1, deleted=set(gone), deletions_done=done))

    async def settle(self) -> None:
        """Wait until lists reflect every removal so far. Raises ProjectionBehind."""
        try:
            async with asyncio.timeout(self._reach_deadline_s):
                while self._waiting_removals and self._writer is not None:
                    self._progress.clear()
                    self._writer.hurry()
                    await self._progress.wait()
        except TimeoutError:
            raise ProjectionBehind from None

    async def _read[T](self, read: Callable[[EventIndex], T]) -> T:
        index = self._reader
        if index is None:
            raise ProjectionBehind
        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_thread, read, index)
        except sqlite3.Error as error:
            _log.error("session index: cannot read: %s", error)
            if is_damage(error):
                self.damaged.set()
            raise ProjectionBehind from error

    async def _load_states(self, records: Mapping[SessionId, Sequence[CommittedRecord]]) -> None:
        missing = [
            session_id
            for session_id, (first, *_) in records.items()
            if first.previous and not self.states.get(session_id)
        ]
        if missing:
            for session_id, folded in (await self.stored(sorted(missing))).items():
                self.states.put(session_id, folded)

    def _folded_together(self, session_id: SessionId, records: Sequence[CommittedRecord]) -> Folded | None:
        """The state after the records of a session that goes on; None when they have to be looked at one by one."""
        if session_id in self._gone:
            return None
        known = self.states.get(session_id)
        state, sequence = known or (None, 0)
        news = [record for record in records if record.sequence > sequence]
        for record in news:
            if record.previous != sequence:
                return None
            sequence = record.sequence
        if news:
            try:
                state = fold_records(state, [record.content for record in news])
            except LogUnreadable:
                return None
        if state is None or state.deleted:
            return None
        return self._keep(session_id, state, sequence) if news else known

    async def _apply_one_by_one(self, records: Sequence[CommittedRecord], changes: Changes) -> None:
        for record in records:
            session_id = record.session_id
            try:
                folded = await self._fold(record)
            except LogUnreadable as error:
                where = {"session_id": session_id, "sequence": record.sequence}
                _log.error("cannot fold a record: %s", error, extra=where)
                continue
            if folded is None or folded.state.deleted:
                self.states.forget(session_id)
                changes.delete(session_id, self._deletion(record, folded))
            else:
                changes.keep(session_id, folded, [(record.sequence, record.content.listed)])

    def _keep(self, session_id: SessionId, state: SessionState, sequence: int) -> Folded:
        folded = Folded(state, sequence)
        self.states.put(session_id, folded)
        return folded

    async def _fold(self, record: CommittedRecord) -> Folded | None:
        """The newest known state of the record's session, at least up to the record; None when the session is gone.

        Raises LogUnreadable.
        """
        if record.session_id in self._gone:
            return None
        known = self.states.get(record.session_id)
        if known is not None and known.sequence >= record.sequence:
            return known
        state, sequence = known or (None, 0)
        if sequence == record.previous:
            state, sequence = fold_records(state, [record.content]), record.sequence
        else:
            async for stored in self._log.read(record.session_id, after=sequence, reach=record.sequence):
                state, sequence = fold(state, (stored.record,)), stored.sequence
        if state is None or sequence < record.sequence:
            return None  # purged meanwhile
        return self._keep(record.session_id, state, sequence)

    def _deletion(self, record: CommittedRecord, folded: Folded | None) -> Deletion | None:
        """What has still to be done after the record, when it is the last one of a deleted session."""
        listed, payload = record.content.listed, record.content.payload
        if not listed or listed[-1][1] != DELETED or payload is None:
            return None
        if folded is None:
            return self._gone.get(record.session_id)
        last = orjson.dumps(parse_record(payload)[listed[-1][0]]["event"])
        return Deletion(record.session_id, folded.state.workspace_id, record.sequence, last)

    def _wrote(self, changes: Changes) -> None:
        self.progress.advance(changes.applied)
        self.states.wrote((session_id, folded.sequence) for session_id, folded in changes.states.items())
        self._waiting_records -= changes.records
        self._waiting_removals -= changes.removals
        self._progress.set()
