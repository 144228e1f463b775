"""The running parts behind the routes of files and skills: their stores, their limits, and the sweep of blobs."""

import asyncio
import logging
from typing import Final

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.blobs.sweep import AttachedFiles, BlobSweep, OtherLog
from efferent.common.files.store import FileStore
from efferent.common.ports import BlobsUnavailable, LogError
from efferent.common.skills.store import SkillStore
from efferent.gateway.errors import Overloaded
from efferent.gateway.files.storage_room import StorageRoom

MIB: Final = 1024 * 1024

_log = logging.getLogger(__name__)


class FileSettings(BaseSettings):
    """Limits of files, and how often blobs that nothing names are looked for."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    bytes_max: int = Field(
        default=500 * MIB, ge=1, validation_alias=AliasChoices("EFFERENT_FILE_BYTES_MAX", "bytes_max")
    )
    """The largest file."""
    storage_bytes_max: int | None = Field(
        default=None, ge=1, validation_alias=AliasChoices("EFFERENT_FILE_STORAGE_BYTES_MAX", "storage_bytes_max")
    )
    """How much all files of a workspace may take together; unset: as much as there is room for."""
    sweep_interval_s: float = Field(
        default=21_600.0, gt=0, validation_alias=AliasChoices("EFFERENT_BLOB_SWEEP_INTERVAL_S", "sweep_interval_s")
    )
    """How often blobs are swept, first at the start."""


class FileServices:
    """Everything that the routes of files and skills use."""

    def __init__(
        self,
        settings: FileSettings,
        files: FileStore,
        skills: SkillStore,
        sweep: BlobSweep,
        room: StorageRoom,
    ) -> None:
        self.settings = settings
        self.files = files
        self.skills = skills
        self.room = room
        self._sweep = sweep
        self._sweeping: asyncio.Task[None] | None = None

    def start(self, attached: AttachedFiles) -> None:
        """Begin to sweep, now and then. ``attached``: who knows what sessions have."""
        self._sweeping = asyncio.create_task(self._keep_sweeping(attached), name="blob sweep")

    async def stop(self) -> None:
        """End the sweep. Safe to call twice, and when it never began."""
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait([sweeping])

    async def _keep_sweeping(self, attached: AttachedFiles) -> None:
        while True:
            try:
                report = await self._sweep.run(attached)
                _log.info(
                    "blobs were swept",
                    extra={"deleted": report.deleted, "expired": report.expired, "drafts": report.drafts},
                )
            except (LogError, BlobsUnavailable, OtherLog, Overloaded) as error:
                _log.warning("the sweep of blobs is not finished: %s", error)
            except Exception as error:
                # A defect: blobs that nothing names stay where they are, and everything else goes on.
                _log.error("the sweep of blobs failed", exc_info=error)
            await asyncio.sleep(self.settings.sweep_interval_s)
