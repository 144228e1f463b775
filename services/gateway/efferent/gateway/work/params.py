"""What requests to a work queue may say."""

from typing import Final

from aiohttp import web

from efferent.common.domain.work import RECLAIM_MS_DEFAULT
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params, check_query, query_int
from efferent.gateway.work.queue import PollOptions
from efferent.gateway.work.workers import WORKER_ID_LENGTH_MAX

BLOCK_MS_MAX: Final = 999
RECLAIM_MS_MAX: Final = 24 * 3_600_000
DESIRED_TTL_S_MAX: Final = 2**31 - 1
HEARTBEAT_LENGTH_MAX: Final = 64


class StopWorkParams(Params):
    """Body of ``POST .../work/{work_id}/stop``."""

    force: bool | None = None


class UpdateWorkParams(Params):
    """Body of ``POST .../work/{work_id}``."""

    metadata: dict[str, str | None]


def poll_options(request: web.Request) -> PollOptions:
    """What a poll asks for. Raises InvalidRequest."""
    check_query(request, "block_ms", "reclaim_older_than_ms")
    block_ms = query_int(request, "block_ms", low=1, high=BLOCK_MS_MAX)
    reclaim = query_int(request, "reclaim_older_than_ms", low=0, high=RECLAIM_MS_MAX)
    worker_id = request.headers.get("anthropic-worker-id") or None
    if worker_id is not None and len(worker_id) > WORKER_ID_LENGTH_MAX:
        raise InvalidRequest(f"anthropic-worker-id: must be at most {WORKER_ID_LENGTH_MAX} characters long")
    return PollOptions(
        block_ms=block_ms or 0,
        reclaim_older_than_ms=RECLAIM_MS_DEFAULT if reclaim is None else reclaim,
        worker_id=worker_id,
    )


def desired_ttl_s(request: web.Request) -> int | None:
    """``desired_ttl_seconds``, None when it is not given; the rules keep it within bounds. Raises InvalidRequest."""
    return query_int(request, "desired_ttl_seconds", low=1, high=DESIRED_TTL_S_MAX)


def expected_heartbeat(request: web.Request) -> str | None:
    """``expected_last_heartbeat``, None when it is not given. Raises InvalidRequest."""
    expected = request.query.get("expected_last_heartbeat") or None
    if expected is not None and len(expected) > HEARTBEAT_LENGTH_MAX:
        raise InvalidRequest(f"expected_last_heartbeat: must be at most {HEARTBEAT_LENGTH_MAX} characters long")
    return expected
