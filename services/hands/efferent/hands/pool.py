"""The live sandboxes of all sessions: started when needed, ended when idle or when their room is needed."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from efferent.hands.disk import DiskLedger, LimitExceeded
from efferent.hands.folder import SessionFolder
from efferent.hands.ports import Backend, HandsError, Sandbox, SandboxFailed
from efferent.hands.settings import HandsSettings
from efferent.hands.watchdog import check_memory

_SWEEP_EVERY_S_MAX: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Slot:
    """A session's place in the pool."""

    folder: SessionFolder
    ledger: DiskLedger
    sandbox: Sandbox | None = None
    users: int = 0
    """Calls that run in the sandbox, or wait for it to start."""
    used_at_s: float = 0.0
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)


class Pool:
    """Owns every live sandbox."""

    def __init__(self, backend: Backend, settings: HandsSettings, monotonic_s: Callable[[], float]) -> None:
        self._backend = backend
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._slots: OrderedDict[str, Slot] = OrderedDict()
        """By session id, the longest unused first."""
        self._live = 0
        self._room = asyncio.Condition()

    @property
    def live(self) -> int:
        """Sandboxes that live or are being started."""
        return self._live

    @asynccontextmanager
    async def use(self, session_id: str, folder: SessionFolder) -> AsyncIterator[tuple[Sandbox, DiskLedger]]:
        """The session's live sandbox, started when there is none. Raises SandboxFailed."""
        slot = self._slots.get(session_id)
        if slot is None:
            slot = Slot(folder, DiskLedger(self._settings, folder.path, self._monotonic_s))
            self._slots[session_id] = slot
        self._slots.move_to_end(session_id)
        slot.users += 1
        try:
            yield await self._started(slot), slot.ledger
        finally:
            slot.users -= 1
            slot.used_at_s = self._monotonic_s()
            async with self._room:
                self._room.notify_all()

    async def end(self, session_id: str) -> None:
        """End the session's sandbox, if it has one, and forget the session."""
        if (slot := self._slots.pop(session_id, None)) is not None:
            async with slot.starting:
                await self._end(slot)

    async def close(self) -> None:
        """End every sandbox."""
        await asyncio.gather(*(self.end(session_id) for session_id in list(self._slots)))

    async def sweep_for_ever(self) -> None:
        """End sandboxes that nobody has used for ``idle_s``, and those whose background processes pass a limit."""
        while True:
            await asyncio.sleep(min(_SWEEP_EVERY_S_MAX, self._settings.idle_s / 4))
            for session_id, slot in list(self._slots.items()):
                if slot.users == 0:
                    await self._look_at(session_id, slot)

    async def _look_at(self, session_id: str, slot: Slot) -> None:
        try:
            if self._monotonic_s() - slot.used_at_s >= self._settings.idle_s or slot.sandbox is None:
                await self._retire(session_id, slot)
            elif slot.sandbox.is_alive and slot.ledger.is_due(is_idle=True):
                baseline = slot.ledger.usage
                check_memory(slot.sandbox, self._settings)
                await slot.ledger.measure(slot.sandbox)
                slot.ledger.check(baseline)
        except LimitExceeded:
            _log.warning("a limit was passed by background processes", extra={"session_id": session_id})
            await self._retire(session_id, slot)
        except HandsError:
            await self._retire(session_id, slot)

    async def _retire(self, session_id: str, slot: Slot) -> None:
        """Take an idle sandbox out of the pool, unless a call has come for it meanwhile."""
        async with slot.starting:
            if slot.users == 0 and self._slots.get(session_id) is slot:
                del self._slots[session_id]
                await self._end(slot)

    async def _started(self, slot: Slot) -> Sandbox:
        async with slot.starting:
            if slot.sandbox is not None and slot.sandbox.is_alive:
                return slot.sandbox
            await self._end(slot)
            await self._take_room()
            try:
                await asyncio.to_thread(slot.folder.clear_run)
                slot.sandbox = await self._backend.start(slot.folder)
            except BaseException:
                await self._give_room()
                raise
            return slot.sandbox

    async def _take_room(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + self._settings.sandbox_wait_s
        async with self._room:
            while self._live >= self._settings.sandboxes_max:
                if (idle := self._longest_idle()) is None:
                    await self._wait_for_room(deadline_s)
                else:  # that its end takes a while does not make it busy: no deadline cuts it off
                    del self._slots[idle[0]]
                    sandbox, idle[1].sandbox = idle[1].sandbox, None
                    self._live -= 1
                    if sandbox is not None:
                        await sandbox.kill()
            self._live += 1

    async def _wait_for_room(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._room.wait()
        except TimeoutError as error:
            raise SandboxFailed(f"all {self._settings.sandboxes_max} sandboxes are busy; retry later") from error

    async def _give_room(self) -> None:
        async with self._room:
            self._live -= 1
            self._room.notify_all()

    def _longest_idle(self) -> tuple[str, Slot] | None:
        return next(
            ((it, slot) for it, slot in self._slots.items() if slot.users == 0 and slot.sandbox is not None), None
        )

    async def _end(self, slot: Slot) -> None:
        sandbox, slot.sandbox = slot.sandbox, None
        if sandbox is not None:
            with contextlib.suppress(OSError):
                await sandbox.kill()
            await self._give_room()
