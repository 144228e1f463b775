"""``/v1/environments/{environment_id}/work``: the queue of a self-hosted environment, for its workers."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.domain.ids import EnvironmentId, WorkId
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.resources.work import work_of as shown
from efferent.common.domain.work import LeaseLost
from efferent.gateway import cursors
from efferent.gateway.access.key_ring import keys_of
from efferent.gateway.access.principals import ApiKeyHolder, SessionsTokenHolder
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.errors import HeartbeatRefused, InvalidRequest
from efferent.gateway.request_body import read_body
from efferent.gateway.responses import json_bytes, json_page, json_resource
from efferent.gateway.validation import check_query, parse_body, path_id, query_limit
from efferent.gateway.work import tokens
from efferent.gateway.work.params import (
    StopWorkParams,
    UpdateWorkParams,
    desired_ttl_s,
    expected_heartbeat,
    poll_options,
)
from efferent.gateway.work.queue import Asker
from efferent.gateway.work.services import work_of

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
_CURSOR_KIND: Final = "work"


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file; fixed segments stand before those of an id."""
    queue, item = "/v1/environments/{environment_id}/work", "/v1/environments/{environment_id}/work/{work_id}"
    return [
        web.get(queue, list_work),
        web.get(f"{queue}/poll", poll, allow_head=False),
        web.get(f"{queue}/stats", stats),
        web.get(item, retrieve),
        web.post(item, update),
        web.post(f"{item}/ack", acknowledge),
        web.post(f"{item}/heartbeat", heartbeat),
        web.post(f"{item}/stop", stop),
    ]


async def poll(request: web.Request) -> web.Response:
    """The next item, with the secret that its worker works with; ``null`` when there is none."""
    environment_id, options = await _environment(request), poll_options(request)
    caller = caller_of(request)
    asker = Asker(caller.workspace_id, caller.key_id)
    claimed = await keys_of(request).unless_refused(
        caller.key_id, work_of(request).queue.poll(asker, environment_id, options)
    )
    if claimed is None:
        return json_bytes(b"null")
    return json_resource(shown(claimed.item, secret=tokens.secret_of(claimed.token)))


async def acknowledge(request: web.Request) -> web.Response:
    """Take the item off the queue."""
    environment_id, work_id = await _environment(request), _work_id(request)
    workspace_id = caller_of(request).workspace_id
    return json_resource(shown(await work_of(request).queue.acknowledge(workspace_id, environment_id, work_id)))


async def heartbeat(request: web.Request) -> web.Response:
    """Take or extend the lease."""
    environment_id, work_id = await _environment(request), _work_id(request)
    check_query(request, "expected_last_heartbeat", "desired_ttl_seconds")
    try:
        told = await work_of(request).queue.heartbeat(
            caller_of(request).workspace_id,
            environment_id,
            work_id,
            expected=expected_heartbeat(request),
            ttl_s=desired_ttl_s(request),
            token_hash=_token_hash(request),
        )
    except LeaseLost as lost:
        raise HeartbeatRefused(str(lost), current_state=_lease_state(lost)) from lost
    return json_resource(told)


async def stop(request: web.Request) -> web.Response:
    """End the item, now or when its worker confirms."""
    environment_id, work_id = await _environment(request), _work_id(request)
    body = await read_body(request, context_of(request).settings.body_bytes_max)
    params = parse_body(StopWorkParams, body) if body.strip() else StopWorkParams()
    item = await work_of(request).queue.stop(
        caller_of(request).workspace_id,
        environment_id,
        work_id,
        force=bool(params.force),
        by_worker=not isinstance(caller_of(request).principal, ApiKeyHolder),
        token_hash=_token_hash(request),
    )
    return json_resource(shown(item))


async def retrieve(request: web.Request) -> web.Response:
    """One item."""
    environment_id, work_id = await _environment(request), _work_id(request)
    return json_resource(
        shown(await work_of(request).queue.get(caller_of(request).workspace_id, environment_id, work_id))
    )


async def update(request: web.Request) -> web.Response:
    """Merge into the item's metadata."""
    environment_id, work_id = await _environment(request), _work_id(request)
    body = await read_body(request, context_of(request).settings.body_bytes_max)
    patch = parse_body(UpdateWorkParams, body).metadata
    return json_resource(
        shown(await work_of(request).queue.update(caller_of(request).workspace_id, environment_id, work_id, patch))
    )


async def stats(request: web.Request) -> web.Response:
    """How full the queue is."""
    return json_resource(await work_of(request).queue.stats(await _environment(request)))


async def list_work(request: web.Request) -> web.Response:
    """A page of the environment's items, newest first; stopped ones for some days."""
    environment_id = await _environment(request)
    check_query(request, "limit", "page")
    limit = query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX)
    workspace_id = caller_of(request).workspace_id
    items = await work_of(request).queue.items(workspace_id, environment_id)
    kind = f"{_CURSOR_KIND}/{environment_id}"
    text = request.query.get("page")
    if text:
        position = cursors.read(text, kind=kind, workspace_id=workspace_id, order="desc", width=2).position
        items = [item for item in items if (item.created_at, item.id) < position]
    page, next_page = items[:limit], None
    if len(items) > limit:
        place = cursors.Cursor((page[-1].created_at, page[-1].id))
        next_page = cursors.write(place, kind=kind, workspace_id=workspace_id, order="desc")
    return json_page([shown(item).model_dump_json().encode() for item in page], next_page=next_page)


async def _environment(request: web.Request) -> EnvironmentId:
    """The environment of the path. Raises NotFound, InvalidRequest when the server runs its sandboxes itself."""
    environment_id = EnvironmentId(path_id(request, "environment_id", "env_", "environment"))
    aggregates, workspace_id = context_of(request).aggregates, caller_of(request).workspace_id
    environment = await ENVIRONMENTS.get(aggregates, workspace_id, environment_id)
    if not isinstance(environment.config, SelfHostedConfig):
        raise InvalidRequest(f"Environment {environment_id} is not a self-hosted environment: it has no work queue.")
    return environment_id


def _work_id(request: web.Request) -> WorkId:
    return WorkId(path_id(request, "work_id", "work_", "work"))


def _token_hash(request: web.Request) -> str | None:
    principal = caller_of(request).principal
    return principal.token_hash if isinstance(principal, SessionsTokenHolder) else None


def _lease_state(lost: LeaseLost) -> dict[str, object]:
    item = lost.item
    return {
        "state": item.state,
        "ttl_seconds": item.ttl_s,
        "last_heartbeat": item.latest_heartbeat_at,
        "lease_extended": False,
    }
