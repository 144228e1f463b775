"""Skills and their versions as they are stored and answered. The files of a version are a blob, one zip archive."""

from typing import Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import SkillId, SkillVersionId
from efferent.common.domain.timestamp import Timestamp


class SkillSource(Shape):
    """Who made a skill. This server has only those of its users."""

    type: Literal["custom"] = "custom"


class SkillMetadata(Shape):
    """The Skill resource as clients get it."""

    type: Literal["skill"] = "skill"
    id: SkillId
    display_name: str
    latest_version_id: str
    """What ``latest`` means now; empty when every version was deleted."""
    source: SkillSource = SkillSource()
    created_at: Timestamp
    updated_at: Timestamp


class SkillVersionMetadata(Shape):
    """The SkillVersion resource as clients get it."""

    type: Literal["skill_version"] = "skill_version"
    id: SkillVersionId
    skill_id: SkillId
    name: str
    description: str
    created_at: Timestamp


class SkillVersion(Shape):
    """A version as it is stored in its skill."""

    id: SkillVersionId
    description: str
    size_bytes: int
    """Of the archive."""
    sha256: str
    created_at: Timestamp


class Skill(Shape):
    """A skill as it is stored: with all its versions, oldest first."""

    id: SkillId
    name: str
    """The slug that all its versions have, and the folder that they are in."""
    display_name: str
    versions: tuple[SkillVersion, ...]
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def archived_at(self) -> None:
        """Skills are never archived."""

    @property
    def latest(self) -> SkillVersion | None:
        """The newest version; None when every version was deleted."""
        return self.versions[-1] if self.versions else None

    def version(self, version_id: str) -> SkillVersion | None:
        """A version by its id, or the newest one as ``latest``."""
        if version_id == "latest":
            return self.latest
        return next((version for version in self.versions if version.id == version_id), None)


def content_key(skill_id: SkillId, version_id: SkillVersionId) -> str:
    """Where the archive of a version is."""
    return f"{skill_id}/versions/{version_id}/archive.zip"


def metadata(skill: Skill) -> SkillMetadata:
    """What clients get of a skill."""
    return SkillMetadata(
        id=skill.id,
        display_name=skill.display_name,
        latest_version_id=skill.latest.id if skill.latest is not None else "",
        created_at=skill.created_at,
        updated_at=skill.updated_at,
    )


def version_metadata(skill: Skill, version: SkillVersion) -> SkillVersionMetadata:
    """What clients get of a version."""
    return SkillVersionMetadata(
        id=version.id,
        skill_id=skill.id,
        name=skill.name,
        description=version.description,
        created_at=version.created_at,
    )
