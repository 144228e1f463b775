"""``/v1/agents``: create, list, retrieve, update, archive, versions."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.control.agents import AGENTS, get_agent
from efferent.common.domain.control.agent import AGENT, ArchiveAgent, CreateAgent, UpdateAgent
from efferent.common.domain.ids import AgentId
from efferent.common.domain.resources.agent import Agent
from efferent.common.skills.resolver import SkillResolver
from efferent.gateway import cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.agent_params import (
    CreateAgentParams,
    SkillParams,
    UpdateAgentParams,
    model_choice,
    wanted_skills,
)
from efferent.gateway.control.handling import body_as, change, id_in_path, new_id
from efferent.gateway.control.listing import LIMIT_DEFAULT, LIMIT_MAX, Wanted, list_page
from efferent.gateway.cursors import Cursor
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_page, json_shown
from efferent.gateway.validation import query_int, query_limit, query_times

VERSION_MAX: Final = 2**31 - 1


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/agents", create),
        web.get("/v1/agents", list_agents),
        web.get("/v1/agents/{agent_id}", retrieve),
        web.post("/v1/agents/{agent_id}", update),
        web.post("/v1/agents/{agent_id}/archive", archive),
        web.get("/v1/agents/{agent_id}/versions", list_versions),
    ]


async def create(request: web.Request) -> web.Response:
    """Make an agent at version 1."""
    context = context_of(request)
    params = await body_as(request, CreateAgentParams)
    agent_id = AgentId(new_id(request, AGENT))
    command = CreateAgent(
        id=agent_id,
        name=params.name,
        model=model_choice(params.model, context.models),
        fields=params.fields(metadata=params.metadata or {}),
    )
    await _check_skills(request, params.skills)
    return json_shown(AGENT, await change(request, AGENTS, agent_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """The newest version, or the one that is asked for."""
    agent_id = _agent_id(request)
    version = query_int(request, "version", low=1, high=VERSION_MAX)
    aggregates, workspace_id = context_of(request).aggregates, caller_of(request).workspace_id
    return json_shown(AGENT, await get_agent(aggregates, workspace_id, agent_id, version))


async def update(request: web.Request) -> web.Response:
    """Make the next version, when something changes."""
    context, agent_id = context_of(request), _agent_id(request)
    params = await body_as(request, UpdateAgentParams)
    for name in ("name", "model"):
        if name in params.model_fields_set and getattr(params, name) is None:
            reason = " (agent_model_required)" if name == "model" else ""
            raise InvalidRequest(f"{name}: cannot be cleared{reason}")
    more: dict[str, object] = {"metadata": params.metadata or {}}
    if params.name is not None:
        more["name"] = params.name
    if params.model is not None:
        more["model"] = model_choice(params.model, context.models)
    command = UpdateAgent(fields=params.fields(**more), version=params.version)
    await _check_skills(request, params.skills)
    return json_shown(AGENT, await change(request, AGENTS, agent_id, command))


async def archive(request: web.Request) -> web.Response:
    """Make the agent read-only; archiving it again changes nothing."""
    return json_shown(AGENT, await change(request, AGENTS, _agent_id(request), ArchiveAgent()))


async def list_agents(request: web.Request) -> web.Response:
    """The newest version of each agent, newest agent first."""
    return await list_page(request, AGENT, Wanted(created_at=query_times(request, "created_at")))


async def list_versions(request: web.Request) -> web.Response:
    """Every version of an agent, newest first."""
    context, workspace_id, agent_id = context_of(request), caller_of(request).workspace_id, _agent_id(request)
    kind = f"agent_versions:{agent_id}"
    limit = query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX)
    below = None
    if text := request.query.get("page"):
        below = int(cursors.read(text, kind=kind, workspace_id=workspace_id, order="desc", width=1).position[0])
    newest = await AGENTS.get(context.aggregates, workspace_id, agent_id)
    found, has_more = await context.control.versions(AGENT.name, agent_id, below=below, limit=limit)
    bodies = [_with_archived_at(body, newest) for _, body in found]
    next_page = None
    if has_more:
        next_page = cursors.write(Cursor((found[-1][0],)), kind=kind, workspace_id=workspace_id, order="desc")
    return json_page(bodies, next_page=next_page)


def _agent_id(request: web.Request) -> AgentId:
    return AgentId(id_in_path(request, "agent_id", AGENT))


async def _check_skills(request: web.Request, params: Sequence[SkillParams] | None) -> None:
    """Raise InvalidRequest for skills that there are none of now; sessions look them up again."""
    if params:
        resolver = SkillResolver(context_of(request).aggregates)
        await resolver.resolve(caller_of(request).workspace_id, wanted_skills(params))


def _with_archived_at(body: bytes, newest: Agent) -> bytes:
    if newest.archived_at is None:
        return body
    agent = Agent.model_validate_json(body).model_copy(update={"archived_at": newest.archived_at})
    return agent.model_dump_json().encode()
