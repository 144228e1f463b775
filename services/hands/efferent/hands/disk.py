"""How much a session keeps on disk, measured seldom enough to cost little and often enough to stop a flood."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.hands.ports import DiskUsage, Sandbox
from efferent.hands.settings import MIB, HandsSettings

MEASURE_EVERY_S: Final = 2.0
_REST_FACTOR: Final = 20.0
"""A measurement that took long is followed by a rest of so many times its length."""
_HASTE_FACTOR: Final = 5.0
"""The same while the disk is filling fast."""
_IDLE_FACTOR: Final = 15.0
"""All of these times are so much longer while no call runs."""
_GROWTH_TOLERATED_BYTES: Final = MIB
"""A command of a session over its limit may go on while it does not write more than this: it may be deleting."""


class LimitExceeded(Exception):
    """A limit of the session was passed; the message tells the model which, and what to do."""


@dataclass(slots=True)
class DiskLedger:
    """What is known of one session's use of the disk."""

    settings: HandsSettings
    folder: Path
    monotonic_s: Callable[[], float]
    usage: DiskUsage | None = None
    unmeasured_bytes: int = 0
    """Written by file tools since the last measurement."""
    _measured_at_s: float = 0.0
    _took_s: float = 0.0
    _free_bytes: int = 0

    async def measure(self, sandbox: Sandbox) -> DiskUsage:
        """Count now. Raises SandboxDied."""
        begun = self.monotonic_s()
        self._free_bytes = free_bytes(self.folder)
        self.usage = await sandbox.disk_usage()
        self.unmeasured_bytes = 0
        self._measured_at_s = self.monotonic_s()
        self._took_s = self._measured_at_s - begun
        return self.usage

    def is_due(self, *, is_idle: bool = False) -> bool:
        """Whether it is time to count again; much more seldom for a sandbox in which no call runs."""
        if self.usage is None:
            return True
        factor = _IDLE_FACTOR if is_idle else 1.0
        age_s = self.monotonic_s() - self._measured_at_s
        if age_s >= factor * max(MEASURE_EVERY_S, _REST_FACTOR * self._took_s):
            return True
        room = self.settings.disk_bytes_max - self.usage.used_bytes
        lost = self._free_bytes - free_bytes(self.folder)
        return age_s >= factor * _HASTE_FACTOR * self._took_s and lost >= max(MIB, room // 2)

    async def admit(self, sandbox: Sandbox, new_bytes: int) -> None:
        """Let a file tool write so many bytes. Raises LimitExceeded, SandboxDied."""
        if self.usage is None or self._expected(new_bytes) > self.settings.disk_bytes_max:
            await self.measure(sandbox)
        if (usage := self.usage) is not None and self._expected(new_bytes) > self.settings.disk_bytes_max:
            raise LimitExceeded(self._words(usage))
        if usage is not None and usage.files > self.settings.files_max:
            raise LimitExceeded(self._words(usage))
        self.unmeasured_bytes += new_bytes

    def check(self, baseline: DiskUsage | None) -> None:
        """Compare the last count with the limits and with the count before the command. Raises LimitExceeded."""
        usage = self.usage
        if usage is None:
            return
        before = baseline or DiskUsage(0, 0)
        is_over = usage.used_bytes > self.settings.disk_bytes_max
        if is_over and usage.used_bytes > before.used_bytes + _GROWTH_TOLERATED_BYTES:
            raise LimitExceeded(self._words(usage))
        if usage.files > self.settings.files_max and usage.files > before.files:
            raise LimitExceeded(self._words(usage))

    def _expected(self, new_bytes: int) -> int:
        return (self.usage.used_bytes if self.usage else 0) + self.unmeasured_bytes + new_bytes

    def _words(self, usage: DiskUsage) -> str:
        limits = self.settings
        return (
            f"The session's disk limit is reached: at least {usage.used_bytes} of {limits.disk_bytes_max} bytes and "
            f"{usage.files} of {limits.files_max} files are used. Delete files that are not needed"
        )


def free_bytes(folder: Path) -> int:
    """Free space of the file system."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
