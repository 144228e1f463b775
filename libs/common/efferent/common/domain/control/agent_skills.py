"""What must hold for an agent's skills together with its tools."""

from typing import Final

from efferent.common.domain.permissions import BuiltinTool, find_tool
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.agent import AgentSnapshot

SKILLS_MAX: Final = 500
SKILL_ID_LENGTH_MAX: Final = 64
SKILL_VERSION_LENGTH_MAX: Final = 64


def check_skills(agent: AgentSnapshot) -> None:
    """Raise InvalidRequest, naming the place, when the agent cannot have these skills."""
    if len(agent.skills) > SKILLS_MAX:
        raise InvalidRequest(f"skills: at most {SKILLS_MAX} skills are allowed")
    seen: set[str] = set()
    for index, skill in enumerate(agent.skills):
        if skill.skill_id in seen:
            raise InvalidRequest(f'skills.{index}: duplicate entry for skill "{skill.skill_id}"')
        seen.add(skill.skill_id)


def check_skills_usable(agent: AgentSnapshot) -> None:
    """Raise InvalidRequest when a session of this agent could not read its skills. Agents themselves may be so."""
    if agent.skills and not isinstance(find_tool(agent, "read"), BuiltinTool):
        raise InvalidRequest(
            "Missing required tool: skills require the `read` tool to be usable (enabled) on the session's "
            "`agent_toolset`"
        )
