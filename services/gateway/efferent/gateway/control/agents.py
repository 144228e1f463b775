"""Agents in the log: reading one, at its newest version or an older one, and changing one."""

from typing import Final

from efferent.common.domain.control import agent as agents
from efferent.common.domain.control.agent import AGENT, AgentCommand
from efferent.common.domain.ids import AgentId, WorkspaceId
from efferent.common.domain.resources.agent import Agent
from efferent.gateway.context import Caller, GatewayContext
from efferent.gateway.control.aggregates import Actor
from efferent.gateway.control.kinds import subject_of
from efferent.gateway.errors import NotFound

NO_VERSION_TEXT: Final = "Agent version not found."


class NoSuchVersion(NotFound):
    """The agent exists, this version of it does not."""

    def __init__(self) -> None:
        super().__init__(NO_VERSION_TEXT)


async def get_agent(
    context: GatewayContext, workspace_id: WorkspaceId, agent_id: AgentId, version: int | None = None
) -> Agent:
    """An agent of the workspace as the log has it now, or one of its versions, which shows ``archived_at`` as well.

    Raises NotFound, NoSuchVersion, LogUnavailable.
    """
    newest = (await context.aggregates.load(AGENT, workspace_id, agent_id)).data
    if newest is None:
        raise NotFound(agents.NOT_FOUND_TEXT)
    if version is None or version == newest.version:
        return newest
    if version > newest.version:
        raise NoSuchVersion
    older = await _older_version(context, workspace_id, agent_id, version)
    return older.model_copy(update={"archived_at": newest.archived_at})


async def change_agent(context: GatewayContext, caller: Caller, agent_id: AgentId, command: AgentCommand) -> Agent:
    """Carry out a command and return the agent after it. Raises Refused, Overloaded, LogUnavailable."""
    actor = Actor(caller.workspace_id, caller.key_id)
    return await context.aggregates.execute(
        AGENT, actor, agent_id, lambda current, now: agents.decide(current, command, now)
    )


async def _older_version(context: GatewayContext, workspace_id: WorkspaceId, agent_id: AgentId, version: int) -> Agent:
    body = await context.control.version(AGENT.name, agent_id, version)
    if body is not None:
        return Agent.model_validate_json(body)
    # Not projected yet: the aggregate's own history has it.
    async for raw in context.control_log.read(subject_of(AGENT, workspace_id, agent_id)):
        record = AGENT.decode(raw.payload)
        if record.data.version == version:
            return record.data
    raise NoSuchVersion
