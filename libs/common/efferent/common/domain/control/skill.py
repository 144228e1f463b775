"""Skills: commands, and what they decide. Versions are part of their skill's aggregate: ``latest`` is never behind."""

import re
from dataclasses import dataclass
from typing import Final

from efferent.common.domain.control.aggregate import Change, ControlRecord, Kind, SetFacts
from efferent.common.domain.ids import SkillId, SkillVersionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.skill import Skill, SkillVersion, metadata
from efferent.common.domain.timestamp import Timestamp

NAME_LENGTH_MAX: Final = 64
DESCRIPTION_LENGTH_MAX: Final = 1_024
DISPLAY_NAME_LENGTH_MAX: Final = 255
VERSIONS_MAX: Final = 500

_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _admit(skill: Skill, facts: SetFacts) -> None:
    if facts.holder is not None:
        raise InvalidRequest(f'display_name: a skill named "{skill.display_name}" already exists: {facts.holder}')


SKILL: Final[Kind[Skill]] = Kind(
    name="skill",
    prefix="skill_",
    record=ControlRecord[Skill],
    noun="skill",
    deeds=("created", "updated", "deleted"),
    within="workspace",
    unique_name=lambda skill: skill.display_name,
    admit=_admit,
    show=metadata,
)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version whose archive is stored already; name and description are those of its SKILL.md."""

    id: SkillVersionId
    name: str
    description: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CreateSkill:
    """Make a skill with its first version."""

    id: SkillId
    version: NewVersion
    display_name: str | None = None
    """None: the name."""


@dataclass(frozen=True, slots=True)
class AddVersion:
    """Make the version that is the newest from now on."""

    version: NewVersion


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """Remove one version; agents that name it keep a reference to nothing."""

    id: str


@dataclass(frozen=True, slots=True)
class DeleteSkill:
    """Remove a skill that has no versions left."""


SkillCommand = CreateSkill | AddVersion | DeleteVersion | DeleteSkill


def decide(current: Skill | None, command: SkillCommand, now: Timestamp) -> Change[Skill]:
    """The next state. Raises InvalidRequest, NotFound, Conflict."""
    match command:
        case CreateSkill():
            if current is not None:
                raise Conflict(f"skill {command.id} exists already")
            return Change("created", _create(command, now))
        case AddVersion():
            return Change("updated", _with_version(_existing(current), command.version, now))
        case DeleteVersion():
            return Change("updated", _without_version(_existing(current), command.id, now))
        case DeleteSkill():
            skill = _existing(current)
            if skill.versions:
                raise InvalidRequest(f"Skill {skill.id} has versions. Delete all of its versions first.")
            return Change("deleted", skill)


def not_found() -> NotFound:
    """The refusal when there is no such skill."""
    return NotFound("Skill not found.")


def version_not_found() -> NotFound:
    """The refusal when the skill has no such version."""
    return NotFound("Skill version not found.")


def checked_name(name: str) -> str:
    """The slug of a skill. Raises InvalidRequest."""
    if len(name) > NAME_LENGTH_MAX or _SLUG.fullmatch(name) is None:
        raise InvalidRequest(
            f"SKILL.md: name must be 1 to {NAME_LENGTH_MAX} lower-case letters, digits and single hyphens between them"
        )
    return name


def checked_description(description: str) -> str:
    """What a skill says of itself. Raises InvalidRequest."""
    if not 1 <= len(description) <= DESCRIPTION_LENGTH_MAX:
        raise InvalidRequest(f"SKILL.md: description must be 1 to {DESCRIPTION_LENGTH_MAX} characters long")
    return description


def checked_display_name(name: str) -> str:
    """What people call a skill. Raises InvalidRequest."""
    if not 1 <= len(name) <= DISPLAY_NAME_LENGTH_MAX:
        raise InvalidRequest(f"display_name: must be 1 to {DISPLAY_NAME_LENGTH_MAX} characters long")
    if name.splitlines() != [name]:
        raise InvalidRequest("display_name: must be a single line")
    return name


def _create(command: CreateSkill, now: Timestamp) -> Skill:
    name = checked_name(command.version.name)
    return Skill(
        id=command.id,
        name=name,
        display_name=name if command.display_name is None else checked_display_name(command.display_name),
        versions=(_version(command.version, now),),
        created_at=now,
        updated_at=now,
    )


def _with_version(skill: Skill, version: NewVersion, now: Timestamp) -> Skill:
    if version.name != skill.name:
        raise InvalidRequest(
            f'SKILL.md: name must stay "{skill.name}" in all versions of a skill, and this is "{version.name}"'
        )
    if len(skill.versions) >= VERSIONS_MAX:
        raise InvalidRequest(f"A skill has at most {VERSIONS_MAX} versions. Delete some of them first.")
    now = max(now, skill.updated_at)
    return skill.model_copy(update={"versions": (*skill.versions, _version(version, now)), "updated_at": now})


def _without_version(skill: Skill, version_id: str, now: Timestamp) -> Skill:
    left = tuple(version for version in skill.versions if version.id != version_id)
    if len(left) == len(skill.versions):
        raise version_not_found()
    return skill.model_copy(update={"versions": left, "updated_at": max(now, skill.updated_at)})


def _version(version: NewVersion, now: Timestamp) -> SkillVersion:
    return SkillVersion(
        id=version.id,
        description=checked_description(version.description),
        size_bytes=version.size_bytes,
        sha256=version.sha256,
        created_at=now,
    )


def _existing(current: Skill | None) -> Skill:
    if current is None:
        raise not_found()
    return current
