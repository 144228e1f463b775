"""``/v1/environments``: create, list, retrieve, update, archive, delete."""

from collections.abc import Sequence

import orjson
from aiohttp import web

from efferent.common.domain import ids
from efferent.common.domain.control.environment import (
    ENVIRONMENT,
    ArchiveEnvironment,
    CreateEnvironment,
    DeleteEnvironment,
)
from efferent.common.domain.ids import EnvironmentId
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.environment_params import (
    CreateEnvironmentParams,
    UpdateEnvironmentParams,
    check_scope,
    config_patch,
)
from efferent.gateway.control.environments import change_environment, get_environment
from efferent.gateway.control.listing import list_page
from efferent.gateway.responses import json_bytes, json_resource
from efferent.gateway.validation import parse_body, path_id, read_body


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
    context = context_of(request)
    params = parse_body(CreateEnvironmentParams, await read_body(request, context.settings.body_bytes_max))
    check_scope(params.scope)
    environment_id = EnvironmentId(ids.from_seed("env_", context.ids.seed()))
    command = CreateEnvironment(
        id=environment_id,
        name=params.name,
        description=params.description,
        config=config_patch(params.config),
        metadata=params.metadata or {},
    )
    return json_resource(await change_environment(context, caller_of(request), environment_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One environment, archived or not."""
    environment_id = _environment_id(request)
    return json_resource(await get_environment(context_of(request), caller_of(request).workspace_id, environment_id))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    context, environment_id = context_of(request), _environment_id(request)
    params = parse_body(UpdateEnvironmentParams, await read_body(request, context.settings.body_bytes_max))
    return json_resource(await change_environment(context, caller_of(request), environment_id, params.command()))


async def archive(request: web.Request) -> web.Response:
    """Take no new sessions; archiving it again changes nothing."""
    context, environment_id = context_of(request), _environment_id(request)
    return json_resource(await change_environment(context, caller_of(request), environment_id, ArchiveEnvironment()))


async def delete(request: web.Request) -> web.Response:
    """Remove it; sessions that use it stay readable."""
    context, environment_id = context_of(request), _environment_id(request)
    await change_environment(context, caller_of(request), environment_id, DeleteEnvironment())
    return json_bytes(orjson.dumps({"id": environment_id, "type": "environment_deleted"}))


async def list_environments(request: web.Request) -> web.Response:
    """All environments, newest first."""
    return await list_page(request, ENVIRONMENT, created_at={})


def _environment_id(request: web.Request) -> EnvironmentId:
    return EnvironmentId(path_id(request, "environment_id", "env_", "environment"))
