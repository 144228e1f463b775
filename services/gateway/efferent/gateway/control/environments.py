"""Environments in the log: reading one and changing one."""

from efferent.common.domain.control import environment as environments
from efferent.common.domain.control.environment import ENVIRONMENT, EnvironmentCommand
from efferent.common.domain.ids import EnvironmentId, WorkspaceId
from efferent.common.domain.resources.environment import Environment
from efferent.gateway.context import Caller, GatewayContext
from efferent.gateway.control.aggregates import Actor
from efferent.gateway.errors import NotFound


async def get_environment(
    context: GatewayContext, workspace_id: WorkspaceId, environment_id: EnvironmentId
) -> Environment:
    """An environment of the workspace as the log has it now. Raises NotFound, LogUnavailable."""
    found = (await context.aggregates.load(ENVIRONMENT, workspace_id, environment_id)).data
    if found is None:
        raise NotFound(environments.NOT_FOUND_TEXT, details={"error_code": "environment_not_found"})
    return found


async def change_environment(
    context: GatewayContext, caller: Caller, environment_id: EnvironmentId, command: EnvironmentCommand
) -> Environment:
    """Carry out a command and return the environment after it (a deleted one: before it).

    Raises Refused (a name that is taken: Conflict), Overloaded, LogUnavailable.
    """
    return await context.aggregates.execute(
        ENVIRONMENT,
        Actor(caller.workspace_id, caller.key_id),
        environment_id,
        lambda current, now: environments.decide(current, command, now),
        name_taken=environments.name_taken,
    )
