"""``/v1/environments``: create, list, retrieve, update, archive, delete."""

from collections.abc import Sequence

from aiohttp import web

from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.domain.control.environment import (
    ENVIRONMENT,
    ArchiveEnvironment,
    CreateEnvironment,
    DeleteEnvironment,
)
from efferent.common.domain.ids import EnvironmentId
from efferent.common.domain.resources.environment import Environment, SelfHostedConfig
from efferent.common.environment_keys import revoke_environment_keys
from efferent.gateway.access.key_ring import keys_of
from efferent.gateway.context import context_of
from efferent.gateway.control.environment_params import (
    CreateEnvironmentParams,
    UpdateEnvironmentParams,
    check_scope,
    config_patch,
)
from efferent.gateway.control.handling import body_as, change, find, id_in_path, new_id
from efferent.gateway.control.listing import list_page
from efferent.gateway.responses import json_deleted, json_shown


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/environments", create),
        web.get("/v1/environments", list_environments),
        web.get("/v1/environments/{environment_id}", retrieve),
        web.post("/v1/environments/{environment_id}", update),
        web.delete("/v1/environments/{environment_id}", delete),
        web.post("/v1/environments/{environment_id}/archive", archive),
    ]


async def create(request: web.Request) -> web.Response:
    """Make an environment under a name that no other has."""
    params = await body_as(request, CreateEnvironmentParams)
    check_scope(params.scope)
    environment_id = EnvironmentId(new_id(request, ENVIRONMENT))
    command = CreateEnvironment(
        id=environment_id,
        name=params.name,
        description=params.description,
        config=config_patch(params.config),
        metadata=params.metadata or {},
    )
    return json_shown(ENVIRONMENT, await change(request, ENVIRONMENTS, environment_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One environment, archived or not."""
    return json_shown(ENVIRONMENT, await find(request, ENVIRONMENTS, _id(request)))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    environment_id = _id(request)
    params = await body_as(request, UpdateEnvironmentParams)
    return json_shown(ENVIRONMENT, await change(request, ENVIRONMENTS, environment_id, params.command()))


async def archive(request: web.Request) -> web.Response:
    """Take no new sessions; archiving it again changes nothing."""
    return json_shown(ENVIRONMENT, await change(request, ENVIRONMENTS, _id(request), ArchiveEnvironment()))


async def delete(request: web.Request) -> web.Response:
    """Remove it and revoke its keys; sessions that use it stay readable."""
    environment = await find(request, ENVIRONMENTS, _id(request))
    await _revoke_keys(request, environment)  # first: who asks again after a crash finds the environment
    gone = await change(request, ENVIRONMENTS, environment.id, DeleteEnvironment())
    await _revoke_keys(request, environment)  # one may have been made meanwhile
    return json_deleted(ENVIRONMENT, gone.id)


async def list_environments(request: web.Request) -> web.Response:
    """All environments, newest first."""
    return await list_page(request, ENVIRONMENT)


async def _revoke_keys(request: web.Request, environment: Environment) -> None:
    if isinstance(environment.config, SelfHostedConfig):
        context = context_of(request)
        for key_id in await revoke_environment_keys(context.control_log, environment.id, clock=context.clock):
            await keys_of(request).refresh(key_id)


def _id(request: web.Request) -> str:
    return id_in_path(request, "environment_id", ENVIRONMENT)
