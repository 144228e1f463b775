"""What happens to every request around its handler: id, key, beta, version, errors as envelopes, one log line.

The order of the checks is the hosted service's: unknown route, key, beta, version; only then the body. The key's rate
limit is asked right after the key.
"""

import logging
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from efferent.common.domain import ids
from efferent.gateway.access.auth import authenticate, check_workspace
from efferent.gateway.access.authorisation import Authorisation
from efferent.gateway.access.key_ring import KeyRing
from efferent.gateway.access.rate_limits import RateLimits
from efferent.gateway.beta import check_beta, check_version
from efferent.gateway.context import CALLER, REQUEST_ID, GatewayContext
from efferent.gateway.errors import InternalError, as_api_error, to_response
from efferent.gateway.http_server import SERVER_NAME

API_PREFIX: Final = "/v1/"
PROBES: Final = ("/healthz", "/readyz", "/metrics")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PREPARED: Final = web.RequestKey("efferent.prepared", web.StreamResponse)

_access = logging.getLogger("efferent.access")
_log = logging.getLogger(__name__)


def make(context: GatewayContext, keys: KeyRing, authorisation: Authorisation) -> Middleware:
    """The one middleware of the application."""
    organization_id = context.settings.organization_id
    limits = RateLimits(
        context.clock,
        creates_per_minute=context.settings.creates_per_minute,
        reads_per_minute=context.settings.reads_per_minute,
    )

    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        unknown_route = request.match_info.http_exception
        if unknown_route is None and request.path.startswith(API_PREFIX):
            caller = await authenticate(request, keys, authorisation, organization_id)
            request[CALLER] = caller
            limits.take(caller.key_id, request.method)
            check_workspace(request, caller)
            check_beta(request.path, request.headers.getall("anthropic-beta", []))
            check_version(request.headers.get("anthropic-version"))
            await authorisation.check(request, caller)
        return await handler(request)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = ids.from_seed("req_", context.ids.seed())
        request[REQUEST_ID] = request_id
        started_s = context.clock.monotonic_s()
        status = 499  # the client went away
        context.metrics.requests_open.value += 1
        try:
            try:
                response = await checked(request, handler)
            except Exception as error:
                response = _refusal(request, error, request_id)
            status = response.status
            return response
        finally:
            context.metrics.requests_open.value -= 1
            _report(context, request, status, context.clock.monotonic_s() - started_s)

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer, streams included, the headers that all have; a signal of the application."""
    request[_PREPARED] = response
    headers = response.headers
    headers["Server"] = SERVER_NAME
    request_id = request.get(REQUEST_ID)
    if request_id is not None:
        headers["request-id"] = request_id
    caller = request.get(CALLER)
    if caller is not None:
        headers["anthropic-organization-id"] = caller.organization_id
        headers["anthropic-workspace-id"] = caller.workspace_id


def _refusal(request: web.Request, error: Exception, request_id: str) -> web.StreamResponse:
    api_error = as_api_error(error)
    if api_error is None:
        _log.error("a request failed", exc_info=error, extra={"request_id": request_id, "route": _route(request)})
        api_error = InternalError()
    prepared: web.StreamResponse | None = request.get(_PREPARED)
    if prepared is not None:  # the answer has begun: all that can be done is to end it
        prepared.force_close()
        return prepared
    return to_response(api_error, request_id)


def _report(context: GatewayContext, request: web.Request, status: int, seconds: float) -> None:
    route = _route(request)
    method = request.method if request.method in _METHODS else "other"
    context.metrics.requests.add(method, route, str(status))
    context.metrics.request_seconds.observe(seconds, route)
    fields: dict[str, object] = {
        "request_id": request[REQUEST_ID],
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1_000, 1),
    }
    session_id = request.match_info.get("session_id")
    if session_id is not None:
        fields["session_id"] = session_id[:80]
    # Probes ask all the time: what they ask is worth a line only when the answer is bad.
    is_probe = route in PROBES and status == HTTPStatus.OK
    _access.log(logging.DEBUG if is_probe else logging.INFO, "request", extra=fields)


def _route(request: web.Request) -> str:
    """The pattern of the route, never the path itself: what clients write does not belong in names of series."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
