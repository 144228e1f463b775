"""Starts nats-server again when its store has given up and the disk has room again.

A stream whose write failed on a full disk takes nothing more until the server is started again, however much room there
is by then; the same is so when the share of the disk is used up that the server took for itself at its start. It says
so in its log, which is all that is looked at here: a client of NATS would be the largest thing in the supervisor.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from efferent.cli.data_folder import nats_log_file

LOOK_EVERY_S: Final = 1.0
AGAIN_AFTER_S: Final = 30.0
"""Least time between two restarts."""
FREE_BYTES_MIN: Final = 64 * 1024 * 1024
"""Room on the disk without which a restart would not help."""

_READ_BYTES_MAX: Final = 1024 * 1024
_STARTED: Final = b"Starting nats-server"
_GIVEN_UP: Final = (b"critical write error", b"failed to store a msg", b"resource limits exceeded")


class StoreWatch:
    """Watches the log of the embedded nats-server of a data folder."""

    def __init__(
        self,
        data_dir: Path,
        restart: Callable[[], Awaitable[None]],
        *,
        again_after_s: float = AGAIN_AFTER_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._data_dir = data_dir
        self._file = nats_log_file(data_dir)
        self._restart = restart
        self._again_after_s = again_after_s
        self._look_every_s = look_every_s
        self._position = self._size()
        self._has_given_up = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._look_every_s)
            self._read_on()
            if self._has_given_up and self._free_bytes() >= FREE_BYTES_MIN:
                self._has_given_up = False
                await self._restart()
                await asyncio.sleep(self._again_after_s)

    def _read_on(self) -> None:
        """Take in what was written since the last look; of very much, the end."""
        size = self._size()
        if size < self._position:  # a new file
            self._position = 0
        if size == self._position:
            return
        try:
            with self._file.open("rb") as file:
                file.seek(max(self._position, size - _READ_BYTES_MAX))
                lines = file.read(_READ_BYTES_MAX).split(b"\n")
        except OSError:
            return
        self._position = size
        for line in lines:
            if _STARTED in line:
                self._has_given_up = False
            elif any(words in line for words in _GIVEN_UP):
                self._has_given_up = True

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._data_dir).free
        except OSError:
            return 0
