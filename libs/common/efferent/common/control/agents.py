"""Agents in the log, at their newest version or an older one."""

from typing import Final

from efferent.common.control.aggregates import Aggregates
from efferent.common.control.collection import Collection
from efferent.common.domain.control import agent
from efferent.common.domain.control.agent import AGENT, AgentCommand
from efferent.common.domain.ids import AgentId, WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.agent import Agent

READ_WHOLE_MAX: Final = 8
"""Versions that are read at once to find one of them; of more, one is searched for."""
NO_VERSION_TEXT: Final = "Agent version not found."

AGENTS: Final[Collection[Agent, AgentCommand]] = Collection(AGENT, agent.decide, agent.not_found)


class NoSuchVersion(NotFound):
    """The agent exists, this version of it does not."""

    def __init__(self) -> None:
        super().__init__(NO_VERSION_TEXT)


async def get_agent(
    aggregates: Aggregates, workspace_id: WorkspaceId, agent_id: AgentId, version: int | None = None
) -> Agent:
    """An agent of the workspace as the log has it now, or one of its versions, which shows ``archived_at`` as well.

    Raises NotFound, NoSuchVersion, LogUnavailable.
    """
    newest = await AGENTS.get(aggregates, workspace_id, agent_id)
    if version is None or version == newest.version:
        return newest
    if version > newest.version:
        raise NoSuchVersion
    older = await _older(aggregates, workspace_id, agent_id, version, newest.version)
    if older is None:
        raise NoSuchVersion
    return older.model_copy(update={"archived_at": newest.archived_at})


async def _older(
    aggregates: Aggregates, workspace_id: WorkspaceId, agent_id: AgentId, version: int, newest: int
) -> Agent | None:
    if newest > READ_WHOLE_MAX:
        return await aggregates.at_version(AGENT, workspace_id, agent_id, version)
    history = aggregates.history(AGENT, workspace_id, agent_id)
    return await anext((record.data async for record in history if record.data.version == version), None)
