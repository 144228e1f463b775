"""Which version of which skill an agent or a session means: ``latest`` becomes a version that stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from efferent.common.control.aggregates import Aggregates
from efferent.common.control.skills import SKILLS
from efferent.common.domain.ids import SkillId, SkillVersionId, WorkspaceId, is_well_formed
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.skill import Skill, content_key

LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class WantedSkill:
    """A skill as an agent names it; no version means ``latest``."""

    type: Literal["custom", "anthropic"]
    skill_id: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedSkill:
    """One version of one skill, and what is needed to place it in a sandbox."""

    type: Literal["custom"]
    skill_id: SkillId
    version: SkillVersionId
    name: str
    """The folder that its archive holds."""
    description: str
    size_bytes: int
    blob_key: str
    """The blob of its zip archive."""


class SkillResolver:
    """Looks skills up in the log."""

    def __init__(self, aggregates: Aggregates) -> None:
        self._aggregates = aggregates

    async def resolve(self, workspace_id: WorkspaceId, wanted: Sequence[WantedSkill]) -> tuple[ResolvedSkill, ...]:
        """The versions that are meant now, in the same order.

        Raises InvalidRequest that names each skill that there is none of, LogUnavailable.
        """
        found: list[ResolvedSkill] = []
        missing: list[str] = []
        for skill in wanted:
            if skill.type == "anthropic":
                raise InvalidRequest(_no_prebuilt(skill.skill_id))
            resolved = await self._one(workspace_id, skill)
            if resolved is None:
                missing.append(f'skill "{skill.skill_id[:100]}" version "{(skill.version or LATEST)[:100]}" not found')
            else:
                found.append(resolved)
        if missing:
            raise InvalidRequest(f"Could not resolve one or more skills: {', '.join(missing)}")
        return tuple(found)

    async def _one(self, workspace_id: WorkspaceId, wanted: WantedSkill) -> ResolvedSkill | None:
        if not is_well_formed("skill_", wanted.skill_id):
            return None
        skill = (await self._aggregates.load(SKILLS.kind, workspace_id, wanted.skill_id)).data
        return _resolved(skill, wanted.version or LATEST) if skill is not None else None


def _resolved(skill: Skill, wanted_version: str) -> ResolvedSkill | None:
    version = skill.version(wanted_version)
    if version is None:
        return None
    return ResolvedSkill(
        type="custom",
        skill_id=skill.id,
        version=version.id,
        name=skill.name,
        description=version.description,
        size_bytes=version.size_bytes,
        blob_key=content_key(skill.id, version.id),
    )


def _no_prebuilt(skill_id: str) -> str:
    return (
        f'Could not resolve one or more skills: skill "{skill_id[:100]}" not found: this server has none of the '
        "pre-built skills of type anthropic; upload a skill of your own and attach it with type custom"
    )
