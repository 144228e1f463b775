"""Skills and their versions as they are stored and answered. The files of a version are a blob, one zip archive."""

from typing import Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import SkillId, SkillVersionId
from efferent.common.domain.timestamp import Timestamp, to_epoch_us


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


class NumberedSkillVersionMetadata(SkillVersionMetadata):
    """The same for clients of the beta ``skills-2025-10-02``, which call versions by the time of their making."""

    version: str
    """Microseconds since 1970, in digits."""
    directory: str


class SkillVersion(Shape):
    """A version as it is stored in its skill."""

    id: SkillVersionId
    description: str
    size_bytes: int
    """Of the archive."""
    sha256: str
    created_at: Timestamp

    @property
    def number(self) -> str:
        """What older clients call the version by: microseconds since 1970, in digits."""
        return str(to_epoch_us(self.created_at))


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
        """A version by its id or its number, or the newest one as ``latest``."""
        if version_id == "latest":
            return self.latest
        newest_first = reversed(self.versions)
        return next((version for version in newest_first if version_id in (version.id, version.number)), None)


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


def numbered_version_metadata(skill: Skill, version: SkillVersion) -> NumberedSkillVersionMetadata:
    """What clients of the beta ``skills-2025-10-02`` get of a version."""
    return NumberedSkillVersionMetadata(
        **version_metadata(skill, version).model_dump(), version=version.number, directory=skill.name
    )
