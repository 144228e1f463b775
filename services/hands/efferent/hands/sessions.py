"""All sessions that these hands have to do with: opened when first asked for, deleted when released."""

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from efferent.common.ports import BlobStore
from efferent.hands.calls import Calls
from efferent.hands.folder import SessionFolder
from efferent.hands.journal import Journal
from efferent.hands.placer import Placer
from efferent.hands.pool import Pool
from efferent.hands.ports import Backend
from efferent.hands.session import Session
from efferent.hands.settings import HandsSettings

OPEN_MAX: Final = 256
"""Sessions whose journals stay open; each holds a file descriptor."""
_NOBODY: Final = 65_534


class Sessions:
    """Finds sessions by id."""

    def __init__(
        self,
        backend: Backend,
        pool: Pool,
        blobs: BlobStore,
        settings: HandsSettings,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._pool = pool
        self._blobs = blobs
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._busy: dict[str, asyncio.Task[Session | None]] = {}
        """Sessions that are being opened or released."""

    async def get(self, session_id: str) -> Session:
        """The session, opened when it is not. Raises OSError, ValueError when its journal cannot be read."""
        while (session := self._open.get(session_id)) is None:
            task = self._busy.get(session_id) or self._begin(session_id, self._opened(session_id))
            if (opened := await asyncio.shield(task)) is not None:
                return opened
        self._open.move_to_end(session_id)
        return session

    def find(self, session_id: str) -> Session | None:
        """The session when it is open: only then can it have a running call."""
        return self._open.get(session_id)

    async def release(self, session_id: str) -> None:
        """Delete everything that the session has: processes, files and journal. Repeating it is harmless."""
        while (task := self._busy.get(session_id)) is not None:
            await asyncio.wait([task])
        await asyncio.shield(self._begin(session_id, self._released(session_id)))

    async def settle(self) -> None:
        """Return when no call runs."""
        await asyncio.gather(*(session.settle() for session in list(self._open.values())))

    async def interrupt(self) -> None:
        """Stop every running call and return when each has its result."""
        await asyncio.gather(*(session.interrupt() for session in list(self._open.values())))

    def close(self) -> None:
        """Close every journal."""
        for session in self._open.values():
            session.close()
        self._open.clear()

    def _begin(self, session_id: str, work: Coroutine[None, None, Session | None]) -> "asyncio.Task[Session | None]":
        task = asyncio.create_task(work)
        self._busy[session_id] = task
        task.add_done_callback(lambda _: self._busy.pop(session_id, None))
        return task

    async def _opened(self, session_id: str) -> Session:
        folder = self.folder(session_id)
        journal = await asyncio.to_thread(self._open_journal, folder)
        calls = Calls(session_id, folder, self._pool, self._settings)
        placer = Placer(session_id, folder, self._blobs, self._settings.placed_bytes_max)
        session = Session(session_id, journal, calls, placer, self._settings.calls_max, self._monotonic_s)
        self._open[session_id] = session
        self._make_room()
        return session

    async def _released(self, session_id: str) -> None:
        session = self._open.pop(session_id, None)
        if session is not None:
            await session.interrupt()
        await self._pool.end(session_id)
        if session is not None:
            session.close()
        await self._backend.remove(self.folder(session_id))

    def _open_journal(self, folder: SessionFolder) -> Journal:
        folder.prepare()
        limits = self._settings
        return Journal(folder.journal, results_max=limits.journal_results_max, bytes_max=limits.journal_bytes_max)

    def _make_room(self) -> None:
        for session_id, session in list(self._open.items()):
            if len(self._open) <= OPEN_MAX:
                return
            if session.running == 0:
                del self._open[session_id]
                session.close()

    def folder(self, session_id: str) -> SessionFolder:
        """Where the session's files are, or would be."""
        uid = session_uid(session_id, self._settings)
        return SessionFolder(self._settings.folder / "sessions" / session_id, uid)


def session_uid(session_id: str, settings: HandsSettings) -> int | None:
    """The uid of the session's processes on the host; None for our own, which is right for all but root.

    Always the same for a session, so that it owns its files after a restart. Two sessions may share one: it is a second
    wall, behind the namespaces.
    """
    if os.geteuid() != 0 or settings.backend == "process":
        return None
    known = _known_uids()
    digest = int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:8])
    uid = settings.uid_base + digest % settings.uid_count
    if any(start <= uid < start + count for start, count in known):
        return uid
    return _NOBODY if any(start <= _NOBODY < start + count for start, count in known) else None


def _known_uids() -> list[tuple[int, int]]:
    """First uid and count of each range that this user namespace has."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return []
    return [(int(inside), int(count)) for inside, _, count in map(str.split, lines)]
