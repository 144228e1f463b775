"""Blobs that no record names: what a crash left between storing bytes and recording them, or between the reverse.

A writer stores first and records within seconds, so a blob that is a day old and not named never will be. What the
sweep does not understand it leaves alone.
"""

import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from efferent.common.control.aggregates import Actor
from efferent.common.control.kinds import kind_at, set_pattern, subject_of
from efferent.common.domain.control.aggregate import UnreadableRecord
from efferent.common.domain.control.file import FILE
from efferent.common.domain.control.memory import MEMORY
from efferent.common.domain.control.memory_store import MEMORY_STORE
from efferent.common.domain.control.skill import SKILL
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.file import File
from efferent.common.files.store import FileStore
from efferent.common.jetstream import subjects
from efferent.common.ports import BlobEntry, BlobStore, Clock, ControlLog

AGE_S: Final = 86_400.0
"""How old a blob is before it is asked whether anything names it."""
PAUSED_KEY: Final = "sweep/paused"
"""While this blob is there and no day old, nothing is swept: a backup puts it before it reads, and deletes it after."""
_LOG_PREFIX: Final = "sweep/log-"
"""Followed by the identity of the log whose records name these blobs."""

AttachedFiles = Callable[[SessionId, WorkspaceId], Awaitable[frozenset[str] | None]]
"""Ids of the files that a session has among its resources; None when there is no such session."""

_log = logging.getLogger(__name__)


class OtherLog(Exception):
    """The blobs belong to another log than this one: nothing here names them, and all of them would be deleted."""


class SessionRecords(Protocol):
    """What a session's log says of blobs."""

    def claimed_keys(self, session_id: SessionId) -> AsyncIterator[str]:
        """Keys of the blobs that records of the session stand for. Raises LogUnavailable."""

    async def last_sequence(self, session_id: SessionId) -> int:
        """Sequence of the session's newest record; 0 when it has none. Raises LogUnavailable."""


@dataclass(slots=True)
class SweepReport:
    """What one sweep did."""

    drafts: int = 0
    deleted: int = 0
    expired: int = 0
    """Files whose time was over."""


class BlobSweep:
    """Looks through all blobs."""

    def __init__(
        self,
        blobs: BlobStore,
        control_log: ControlLog,
        sessions: SessionRecords,
        files: FileStore,
        clock: Clock,
        *,
        log_identity: str,
        age_s: float = AGE_S,
    ) -> None:
        """``log_identity``: which log this is; blobs that were swept for another one are never swept for this."""
        self._blobs = blobs
        self._control_log = control_log
        self._sessions = sessions
        self._files = files
        self._clock = clock
        self._age_us = round(age_s * 1_000_000)
        self._marker = _LOG_PREFIX + hashlib.sha256(log_identity.encode()).hexdigest()[:32]

    async def run(self, attached: AttachedFiles | None = None) -> SweepReport:
        """One sweep. Safe to repeat, and to run in several processes. ``attached``: who knows what sessions have.

        Raises what that raises, OtherLog, LogUnavailable, BlobsUnavailable.
        """
        report = SweepReport(drafts=await self._blobs.sweep_drafts())
        await self._claim()
        if await self._is_paused():
            return report
        claimed, told = _ClaimedKeys(self._sessions), _ToldVersions(self._control_log)
        async for entry in self._blobs.entries():
            if await self._is_named(entry, claimed, told, attached, report) or self._is_young(entry):
                continue
            await self._blobs.delete(entry.key)
            report.deleted += 1
            _log.info("a blob that no record names was deleted", extra={"key": entry.key})
        return report

    async def _claim(self) -> None:
        """Make sure that these are this log's blobs; the first sweep says so. Raises OtherLog, BlobsUnavailable."""
        markers = [entry.key async for entry in self._blobs.entries(_LOG_PREFIX)]
        if not markers:
            await self._blobs.put(self._marker, b"")
        elif self._marker not in markers:
            raise OtherLog(
                "the blobs belong to another log: nothing is swept. If this log was restored from a backup and the "
                f"blobs with it, delete the blobs whose keys begin with {_LOG_PREFIX}"
            )

    async def _is_paused(self) -> bool:
        return any([self._is_young(entry) async for entry in self._blobs.entries(PAUSED_KEY)])

    def _is_young(self, entry: BlobEntry) -> bool:
        return self._clock.now_us() - entry.stored_us < self._age_us

    async def _is_named(
        self,
        entry: BlobEntry,
        claimed: "_ClaimedKeys",
        told: "_ToldVersions",
        attached: AttachedFiles | None,
        report: SweepReport,
    ) -> bool:
        match entry.key.split("/"):
            case [file_id, "content"] if file_id.startswith("file_"):
                return await self._file_is_there(file_id, report)
            case [session_id, "files", file_id, "content"] if session_id.startswith("sesn_"):
                if not await self._file_is_there(file_id, report):
                    return False
                if not self._is_young(entry) and not await self._is_held(SessionId(session_id), file_id, attached):
                    await self._delete_orphan(file_id, report)
                return True
            case [session_id, "records", _] if session_id.startswith("sesn_"):
                return self._is_young(entry) or await claimed.has(SessionId(session_id), entry.key)
            case [session_id, "snapshots", _] if session_id.startswith("sesn_"):
                # No record names a snapshot: it is a cache, and goes with its session.
                return self._is_young(entry) or await self._sessions.last_sequence(SessionId(session_id)) > 0
            case [skill_id, "versions", version_id, _] if skill_id.startswith("skill_"):
                return self._is_young(entry) or await self._version_is_there(skill_id, version_id)
            case [store_id, "versions", version_id] if store_id.startswith("memstore_"):
                return self._is_young(entry) or await told.has(store_id, version_id)
            case _:
                return True

    async def _file_is_there(self, file_id: str, report: SweepReport) -> bool:
        raw = await self._control_log.last(subject_of(FILE, WorkspaceId(""), file_id))
        if raw is None:
            return False
        try:
            record = FILE.decode(raw.payload)
        except UnreadableRecord:
            return True
        if FILE.is_deleted(record):
            return False
        if await self._has_expired(record.workspace_id, record.data):
            report.expired += 1
        return True

    async def _delete_orphan(self, file_id: str, report: SweepReport) -> None:
        """Delete a file of a session that is not there, or that has it no more."""
        raw = await self._control_log.last(subject_of(FILE, WorkspaceId(""), file_id))
        if raw is None:
            return
        with contextlib.suppress(NotFound):
            await self._files.delete(Actor(FILE.decode(raw.payload).workspace_id), file_id)
            report.deleted += 1
            _log.info("a file that no session has was deleted", extra={"file_id": file_id})

    async def _is_held(self, session_id: SessionId, file_id: str, attached: AttachedFiles | None) -> bool:
        """Whether the session is there and, where the file is a copy for it, has it among its resources."""
        if not await self._sessions.last_sequence(session_id):
            return False
        if attached is None:
            return True
        raw = await self._control_log.last(subject_of(FILE, WorkspaceId(""), file_id))
        try:
            record = FILE.decode(raw.payload) if raw is not None else None
        except UnreadableRecord:
            return True
        if record is None or not record.data.is_copy or FILE.is_deleted(record):
            return True
        held = await attached(session_id, record.workspace_id)
        return held is None or file_id in held

    async def _has_expired(self, workspace_id: WorkspaceId, file: File) -> bool:
        return file.expires_at is not None and await self._files.expire(workspace_id, file.id)

    async def _version_is_there(self, skill_id: str, version_id: str) -> bool:
        is_there = False
        async for raw in self._control_log.read(subjects.control_in_any_set(SKILL.subject_family, skill_id)):
            try:
                record = SKILL.decode(raw.payload)
            except UnreadableRecord:
                return True
            is_there = not SKILL.is_deleted(record) and record.data.version(version_id) is not None
        return is_there


class _ClaimedKeys:
    """The keys of one session at a time: blobs of a session are listed one after the other."""

    def __init__(self, sessions: SessionRecords) -> None:
        self._sessions = sessions
        self._session_id: SessionId | None = None
        self._keys: frozenset[str] = frozenset()

    async def has(self, session_id: SessionId, key: str) -> bool:
        if session_id != self._session_id:
            self._keys = frozenset([claimed async for claimed in self._sessions.claimed_keys(session_id)])
            self._session_id = session_id
        return key in self._keys


class _ToldVersions:
    """The versions of one memory store at a time: blobs of a store are listed one after the other."""

    def __init__(self, control_log: ControlLog) -> None:
        self._control_log = control_log
        self._store_id: str | None = None
        self._versions: set[str] | None = None

    async def has(self, store_id: str, version_id: str) -> bool:
        """Whether the store is there and a memory of it has a record of the version, as far as can be read."""
        if store_id != self._store_id:
            self._versions = await self._read(store_id)
            self._store_id = store_id
        return self._versions is None or version_id in self._versions

    async def _read(self, store_id: str) -> set[str] | None:
        """All that records tell of; nothing when the store is deleted, None when a record cannot be read."""
        versions: set[str] = set()
        async for raw in self._control_log.read(set_pattern(MEMORY_STORE, store_id)):
            kind = kind_at(raw.subject)
            try:
                if kind is MEMORY_STORE and MEMORY_STORE.is_deleted(MEMORY_STORE.decode(raw.payload)):
                    return set()
                if kind is MEMORY:
                    versions.add(MEMORY.decode(raw.payload).data.memory_version_id)
            except UnreadableRecord:
                return None
        return versions
