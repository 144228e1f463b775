"""Skills as routes use them: an archive is stored before the record that names it, and deleted after it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.skills import SKILLS
from efferent.common.domain.control.skill import (
    AddVersion,
    CreateSkill,
    DeleteSkill,
    DeleteVersion,
    NewVersion,
    SkillCommand,
    checked_display_name,
    version_not_found,
)
from efferent.common.domain.ids import SkillId, SkillVersionId, WorkspaceId, from_seed
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.skill import Skill, SkillVersion, content_key
from efferent.common.ports import BlobStore, IdSource
from efferent.common.skills.package import SkillPackage, UploadedPart, read_package

PACKAGES_AT_ONCE: Final = 2
"""Uploads that are unpacked and packed at the same time, each of which may take 200 MB; the others wait."""


class SkillStore:
    """The skills of all workspaces."""

    def __init__(self, aggregates: Aggregates, blobs: BlobStore, ids: IdSource) -> None:
        self._aggregates = aggregates
        self._blobs = blobs
        self._ids = ids
        self._packing = asyncio.Semaphore(PACKAGES_AT_ONCE)

    async def get(self, workspace_id: WorkspaceId, skill_id: str) -> Skill:
        """A skill of the workspace. Raises NotFound, LogUnavailable."""
        return await SKILLS.get(self._aggregates, workspace_id, skill_id)

    async def version(self, workspace_id: WorkspaceId, skill_id: str, version_id: str) -> tuple[Skill, SkillVersion]:
        """One version, or the newest as ``latest``. Raises NotFound, LogUnavailable."""
        skill = await self.get(workspace_id, skill_id)
        found = skill.version(version_id)
        if found is None:
            raise version_not_found()
        return skill, found

    def content(self, skill_id: SkillId, version_id: SkillVersionId) -> AsyncGenerator[bytes]:
        """The archive of a version. Raises KeyError when it was deleted meanwhile, BlobsUnavailable."""
        return self._blobs.get_stream(content_key(skill_id, version_id))

    async def create(self, actor: Actor, parts: Sequence[UploadedPart], *, display_name: str | None) -> Skill:
        """Make a skill of uploaded files. Raises InvalidRequest, TooLarge, LogUnavailable, BlobsUnavailable."""
        if display_name is not None:
            checked_display_name(display_name)
        package = await self._package(parts)
        skill_id = SkillId(from_seed("skill_", self._ids.seed()))
        version = self._new_version(package)
        return await self._store(actor, skill_id, version, package, CreateSkill(skill_id, version, display_name))

    async def add_version(
        self, actor: Actor, skill_id: SkillId, parts: Sequence[UploadedPart]
    ) -> tuple[Skill, SkillVersion]:
        """Make the newest version of uploaded files; the skill after it, and the version.

        Raises NotFound, InvalidRequest, TooLarge, LogUnavailable, BlobsUnavailable.
        """
        await self.get(actor.workspace_id, skill_id)
        package = await self._package(parts)
        version = self._new_version(package)
        skill = await self._store(actor, skill_id, version, package, AddVersion(version))
        return skill, next(known for known in skill.versions if known.id == version.id)

    async def delete_version(self, actor: Actor, skill_id: SkillId, version_id: SkillVersionId) -> None:
        """Remove a version and its archive. Raises NotFound, LogUnavailable, BlobsUnavailable."""
        await self._change(actor, skill_id, DeleteVersion(version_id))
        await self._blobs.delete(content_key(skill_id, version_id))

    async def delete(self, actor: Actor, skill_id: SkillId) -> None:
        """Remove a skill without versions. Raises InvalidRequest, NotFound, LogUnavailable, BlobsUnavailable."""
        await self._change(actor, skill_id, DeleteSkill())
        await self._blobs.delete(f"{skill_id}/")

    async def _package(self, parts: Sequence[UploadedPart]) -> SkillPackage:
        async with self._packing:
            return await asyncio.to_thread(read_package, parts)

    async def _store(
        self, actor: Actor, skill_id: SkillId, version: NewVersion, package: SkillPackage, command: SkillCommand
    ) -> Skill:
        key = content_key(skill_id, version.id)
        await self._blobs.put(key, package.archive)
        try:
            return await self._change(actor, skill_id, command)
        except Refused:
            await self._blobs.delete(key)
            raise

    async def _change(self, actor: Actor, skill_id: SkillId, command: SkillCommand) -> Skill:
        return await SKILLS.change(self._aggregates, actor, skill_id, command)

    def _new_version(self, package: SkillPackage) -> NewVersion:
        return NewVersion(
            id=SkillVersionId(from_seed("skillver_", self._ids.seed())),
            name=package.name,
            description=package.description,
            size_bytes=len(package.archive),
            sha256=package.sha256,
        )
