"""Skills in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import skill
from efferent.common.domain.control.skill import SKILL, SkillCommand
from efferent.common.domain.resources.skill import Skill

SKILLS: Final[Collection[Skill, SkillCommand]] = Collection(SKILL, skill.decide, skill.not_found)
