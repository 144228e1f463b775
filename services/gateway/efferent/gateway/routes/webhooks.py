"""``/v1/organizations/webhooks``: the endpoints that webhook events are delivered to.

They belong to the organization, not to one of its workspaces: keys of the default workspace manage them, and they get
the events of all workspaces.
"""

from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from efferent.common.control.aggregates import Actor
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, NewEndpoint, SigningSecrets
from efferent.common.domain.control.webhook_endpoint import ENDPOINTS_MAX, WEBHOOK_ENDPOINT
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, id_in_path, new_id
from efferent.gateway.control.tables import Item, ListQuery
from efferent.gateway.control.webhook_params import CreateWebhookParams, UpdateWebhookParams, checked_url
from efferent.gateway.errors import InvalidRequest, PermissionDenied
from efferent.gateway.responses import json_bytes, json_deleted, json_shown
from efferent.gateway.validation import check_query, query_int, query_order, quoted

PATH: Final = "/v1/organizations/webhooks"
LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
OTHER_WORKSPACE_TEXT: Final = "Webhook endpoints of the organization need an API key of the default workspace."


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    one = f"{PATH}/{{webhook_endpoint_id}}"
    return [
        web.post(PATH, create),
        web.get(PATH, list_endpoints),
        web.get(one, retrieve),
        web.post(one, update),
        web.delete(one, delete),
        web.post(f"{one}/regenerate_signing_secret", regenerate_signing_secret),
    ]


async def create(request: web.Request) -> web.Response:
    """Make an endpoint; the only answer beside ``regenerate`` that shows a signing secret."""
    _check_workspace(request)
    params = await body_as(request, CreateWebhookParams)
    new = NewEndpoint(
        id=new_id(request, WEBHOOK_ENDPOINT),
        url=checked_url(params.url, context_of(request).settings.organization.webhook_policy()),
        enabled_events=params.enabled_events,
        name=params.name,
        description=params.description,
    )
    endpoint, secret = await _secrets(request).create(caller_of(request).key_id, new)
    shown = endpoint.shown().model_dump(mode="json")
    return json_bytes(orjson.dumps({**shown, "signing_secret": secret}))


async def retrieve(request: web.Request) -> web.Response:
    """One endpoint."""
    _check_workspace(request)
    endpoint = await WEBHOOK_ENDPOINTS.get(context_of(request).aggregates, HOME, _id(request))
    return json_shown(WEBHOOK_ENDPOINT, endpoint)


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    _check_workspace(request)
    endpoint_id = _id(request)
    params = await body_as(request, UpdateWebhookParams)
    command = params.command(context_of(request).settings.organization.webhook_policy())
    endpoint = await WEBHOOK_ENDPOINTS.change(context_of(request).aggregates, _actor(request), endpoint_id, command)
    return json_shown(WEBHOOK_ENDPOINT, endpoint)


async def delete(request: web.Request) -> web.Response:
    """Remove it; what waits for it is not delivered."""
    _check_workspace(request)
    endpoint_id = _id(request)
    await _secrets(request).delete(caller_of(request).key_id, endpoint_id)
    return json_deleted(WEBHOOK_ENDPOINT, endpoint_id)


async def regenerate_signing_secret(request: web.Request) -> web.Response:
    """Sign with another secret from here on."""
    _check_workspace(request)
    secret = await _secrets(request).replace(caller_of(request).key_id, _id(request))
    return json_bytes(orjson.dumps({"signing_secret": secret}))


async def list_endpoints(request: web.Request) -> web.Response:
    """All endpoints in order of creation; there are so few that a page is cut from the whole list."""
    _check_workspace(request)
    check_query(request, "limit", "order", "after_id", "before_id")
    limit = query_int(request, "limit", low=0, high=LIMIT_MAX) or LIMIT_DEFAULT
    query = ListQuery(
        kind=WEBHOOK_ENDPOINT.name, workspace_id=HOME, limit=ENDPOINTS_MAX, order=query_order(request, "desc")
    )
    items, _ = await context_of(request).control.resources(query)
    asked = _asked(request, items)
    page = asked[:limit]
    body = {
        "data": [orjson.Fragment(item.body) for item in page],
        "has_more": len(asked) > limit,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
    return json_bytes(orjson.dumps(body))


def _asked(request: web.Request, items: Sequence[Item]) -> Sequence[Item]:
    """Everything behind ``after_id``, or everything before ``before_id`` from the list's beginning."""
    after_id, before_id = request.query.get("after_id"), request.query.get("before_id")
    if after_id and before_id:
        raise InvalidRequest("after_id: only one of after_id and before_id may be given")
    if after_id:
        return items[_place(items, after_id, "after_id") + 1 :]
    if before_id:
        return items[: _place(items, before_id, "before_id")]
    return items


def _place(items: Sequence[Item], endpoint_id: str, parameter: str) -> int:
    for index, item in enumerate(items):
        if item.id == endpoint_id:
            return index
    raise InvalidRequest(f"{parameter}: there is no webhook endpoint {quoted(endpoint_id)} in this list")


def _check_workspace(request: web.Request) -> None:
    if caller_of(request).workspace_id != HOME:
        raise PermissionDenied(OTHER_WORKSPACE_TEXT)


def _secrets(request: web.Request) -> SigningSecrets:
    context = context_of(request)
    return SigningSecrets(context.aggregates, context.vaults.box)


def _actor(request: web.Request) -> Actor:
    return Actor(HOME, caller_of(request).key_id)


def _id(request: web.Request) -> str:
    return id_in_path(request, "webhook_endpoint_id", WEBHOOK_ENDPOINT)
