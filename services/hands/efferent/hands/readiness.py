"""Whether tool calls can run here: found out by running one, and believed for a while."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.hands.folder import SessionFolder
from efferent.hands.ports import Backend, Exited, HandsError, Sandbox
from efferent.hands.settings import HandsSettings

FAILURE_TTL_S: Final = 5.0
"""A bad answer is looked at again sooner: somebody may be mending it."""
_TRIAL_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer; ``reason`` is empty when ready."""

    is_ready: bool
    reason: str


class Readiness:
    """Tries the backend out."""

    def __init__(
        self,
        backend: Backend,
        settings: HandsSettings,
        trial_folder: Callable[[Path], SessionFolder],
        monotonic_s: Callable[[], float],
    ) -> None:
        """``trial_folder`` gives a folder of the right owner at a path."""
        self._backend = backend
        self._settings = settings
        self._trial_folder = trial_folder
        self._monotonic_s = monotonic_s
        self._turn = asyncio.Lock()
        self._known: tuple[Verdict, float] | None = None

    async def check(self) -> Verdict:
        """The verdict, at most ``check_ttl_s`` old."""
        async with self._turn:
            if self._known is None or self._monotonic_s() >= self._known[1]:
                verdict = await self._tried()
                ttl_s = self._settings.check_ttl_s if verdict.is_ready else FAILURE_TTL_S
                self._known = (verdict, self._monotonic_s() + ttl_s)
                if not verdict.is_ready:
                    _log.error("tool calls cannot run here: %s", verdict.reason)
            return self._known[0]

    async def _tried(self) -> Verdict:
        folder = self._trial_folder(self._settings.folder / "check")
        try:
            await asyncio.to_thread(folder.prepare)
            await asyncio.to_thread(folder.clear_run)
            sandbox = await self._backend.start(folder)
            try:
                return await _trial(sandbox)
            finally:
                await sandbox.kill()
        except (HandsError, OSError) as error:
            return Verdict(False, str(error))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)


async def _trial(sandbox: Sandbox) -> Verdict:
    result = await sandbox.run("true", _TRIAL_TIMEOUT_S, lambda _: None)
    if result.end != Exited(0):
        return Verdict(False, f"a sandbox was started, but `true` did not run in it: {result.end}")
    return Verdict(True, "")
