"""``/v1/deployments``: create, list, retrieve, update, pause, unpause, archive, run."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.control.deployments import DEPLOYMENTS
from efferent.common.domain import ids
from efferent.common.domain.control.deployment import DEPLOYMENT, PauseDeployment, UnpauseDeployment
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.deployment_params import CreateDeploymentParams, UpdateDeploymentParams
from efferent.gateway.control.deployments import GatewayDeployments
from efferent.gateway.control.handling import body_as, change, id_in_path
from efferent.gateway.control.listing import Wanted, read_page
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_bytes, json_page, json_shown
from efferent.gateway.validation import idempotency_key_of, not_valid, query_times

STATUSES: Final = ("active", "paused")


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    one = "/v1/deployments/{deployment_id}"
    return [
        web.post("/v1/deployments", create),
        web.get("/v1/deployments", list_deployments),
        web.get(one, retrieve),
        web.post(one, update),
        web.post(f"{one}/pause", pause),
        web.post(f"{one}/unpause", unpause),
        web.post(f"{one}/archive", archive),
        web.post(f"{one}/run", run),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a deployment."""
    deployments = _deployments(request)
    made = await deployments.create(await body_as(request, CreateDeploymentParams))
    return json_bytes(await deployments.shown(made))


async def retrieve(request: web.Request) -> web.Response:
    """One deployment, archived or not."""
    deployments = _deployments(request)
    return json_bytes(await deployments.shown(await deployments.get(_id(request))))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    deployments, deployment_id = _deployments(request), _id(request)
    changed = await deployments.update(deployment_id, await body_as(request, UpdateDeploymentParams))
    return json_bytes(await deployments.shown(changed))


async def pause(request: web.Request) -> web.Response:
    """Let the schedule rest; runs can still be asked for."""
    paused = await change(request, DEPLOYMENTS, _id(request), PauseDeployment())
    return json_bytes(await _deployments(request).shown(paused))


async def unpause(request: web.Request) -> web.Response:
    """Let the schedule go on; nothing is made up for."""
    unpaused = await change(request, DEPLOYMENTS, _id(request), UnpauseDeployment())
    return json_bytes(await _deployments(request).shown(unpaused))


async def archive(request: web.Request) -> web.Response:
    """Make it read-only for good; archiving it again changes nothing."""
    deployments = _deployments(request)
    return json_bytes(await deployments.shown(await deployments.archive(_id(request))))


async def run(request: web.Request) -> web.Response:
    """Start one session now."""
    return json_shown(DEPLOYMENT_RUN, await _deployments(request).run(_id(request), idempotency_key_of(request)))


async def list_deployments(request: web.Request) -> web.Response:
    """A page of deployments, newest first."""
    facets: dict[str, str] = {}
    if agent_id := request.query.get("agent_id"):
        if not ids.is_well_formed("agent_", agent_id):
            raise InvalidRequest("Invalid agent ID.")
        facets["agent_id"] = agent_id
    if status := request.query.get("status"):
        if status not in STATUSES:
            raise InvalidRequest(f"status: {not_valid(status, STATUSES)}")
        if request.query.get("include_archived"):
            raise InvalidRequest("status: cannot be combined with include_archived")
        facets["status"] = status
    wanted = Wanted(query_names=("agent_id", "status"), created_at=query_times(request, "created_at"), facets=facets)
    page = await read_page(request, DEPLOYMENT, wanted)
    return json_page(await _deployments(request).with_times(page.bodies), next_page=page.next_page)


def _deployments(request: web.Request) -> GatewayDeployments:
    return GatewayDeployments(context_of(request), caller_of(request).actor)


def _id(request: web.Request) -> str:
    return id_in_path(request, "deployment_id", DEPLOYMENT)
