"""``/healthz``, ``/readyz`` and ``/metrics``: for operators and supervisors, outside the API and without a key."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from efferent.common.runtime import metrics
from efferent.gateway.context import GatewayContext, ReadinessCheck, context_of
from efferent.gateway.sessions.services import sessions_of

_JSON: Final = "application/json"
_log = logging.getLogger(__name__)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [web.get("/healthz", health), web.get("/readyz", ready), web.get("/metrics", metrics_text)]


async def health(request: web.Request) -> web.Response:
    """The process runs and its event loop turns."""
    return web.Response(body=b'{"status":"ok"}', content_type=_JSON)


async def ready(request: web.Request) -> web.Response:
    """Whether a turn can run here and now: 200 or 503, with the verdict of each check."""
    context = context_of(request)
    names = list(context.readiness.checks)
    reasons = await asyncio.gather(*(_ask(context, context.readiness.checks[name]) for name in names))
    is_ready = all(reason is None for reason in reasons)
    checks = {
        name: {"ready": reason is None, "reason": reason or ""} for name, reason in zip(names, reasons, strict=True)
    }
    body = orjson.dumps({"ready": is_ready, "checks": checks})
    return web.Response(status=200 if is_ready else 503, body=body, content_type=_JSON)


async def metrics_text(request: web.Request) -> web.Response:
    """Everything that is counted."""
    metrics_now = context_of(request).metrics
    metrics_now.sessions_applied.value = sessions_of(request).projection.progress.applied
    body = metrics_now.text().encode()
    return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})


async def _ask(context: GatewayContext, check: ReadinessCheck) -> str | None:
    within_s = context.settings.readiness_check_s
    try:
        async with asyncio.timeout(within_s):
            return await check()
    except TimeoutError:
        return f"no answer within {within_s:g} s"
    except Exception as error:
        _log.warning("a readiness check failed", exc_info=error)
        return f"the check failed: {type(error).__name__}"
