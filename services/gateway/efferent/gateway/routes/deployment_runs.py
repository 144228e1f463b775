"""``/v1/deployment_runs``: list, retrieve. A run is there once it is known what came of it."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.control.deployments import DEPLOYMENT_RUNS
from efferent.common.domain.control.deployment_run import (
    DEPLOYMENT_RUN,
    FINISHED,
    HAS_ERROR,
    TRIGGER_TYPE,
    not_found,
)
from efferent.gateway.control.handling import find, id_in_path
from efferent.gateway.control.listing import Wanted, list_page
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_shown
from efferent.gateway.validation import not_valid, query_bool, query_times

LIMIT_MAX: Final = 1_000
TRIGGER_TYPES: Final = ("schedule", "manual")


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.get("/v1/deployment_runs", list_runs),
        web.get("/v1/deployment_runs/{deployment_run_id}", retrieve),
    ]


async def retrieve(request: web.Request) -> web.Response:
    """One run."""
    run = await find(request, DEPLOYMENT_RUNS, id_in_path(request, "deployment_run_id", DEPLOYMENT_RUN))
    if not run.is_finished:
        raise not_found()
    return json_shown(DEPLOYMENT_RUN, run)


async def list_runs(request: web.Request) -> web.Response:
    """A page of runs, newest first."""
    facets = {FINISHED: "true"}
    if request.query.get("has_error"):
        facets[HAS_ERROR] = "true" if query_bool(request, "has_error") else "false"
    if trigger_type := request.query.get("trigger_type"):
        if trigger_type not in TRIGGER_TYPES:
            raise InvalidRequest(f"trigger_type: {not_valid(trigger_type, TRIGGER_TYPES)}")
        facets[TRIGGER_TYPE] = trigger_type
    wanted = Wanted(
        query_names=("deployment_id", "has_error", "trigger_type"),
        created_at=query_times(request, "created_at"),
        parent=request.query.get("deployment_id") or None,
        facets=facets,
        has_archived=False,
        limit_max=LIMIT_MAX,
    )
    return await list_page(request, DEPLOYMENT_RUN, wanted)
