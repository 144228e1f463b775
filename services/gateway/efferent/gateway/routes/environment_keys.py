"""``/v1/environments/{environment_id}/keys``: the keys of a self-hosted environment's workers.

The hosted service makes them in its console only; these routes are this server's own.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import orjson
from aiohttp import web
from pydantic import AfterValidator, Field

from efferent.common import environment_keys
from efferent.common.api_keys import ApiKey
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.domain import timestamp
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.ids import ApiKeyId
from efferent.common.domain.resources.environment import Environment
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.access.key_ring import keys_of
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, find, id_in_path
from efferent.gateway.responses import json_bytes, json_page
from efferent.gateway.validation import Params, path_id

NAME_DEFAULT: Final = "environment key"


def _moment(text: str) -> Timestamp:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return timestamp.from_datetime(moment)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an RFC 3339 date-time with a time zone")


class CreateEnvironmentKeyParams(Params):
    """Body of ``POST /v1/environments/{environment_id}/keys``."""

    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    expires_at: Annotated[str, Field(max_length=64), AfterValidator(_moment)] | None = None
    """RFC 3339; null: the key ends only when it is revoked."""


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/environments/{environment_id}/keys", create),
        web.get("/v1/environments/{environment_id}/keys", list_keys),
        web.delete("/v1/environments/{environment_id}/keys/{key_id}", revoke),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a key; this answer is the only one that holds it."""
    context, caller = context_of(request), caller_of(request)
    params = await body_as(request, CreateEnvironmentKeyParams)
    key, made = await environment_keys.create_environment_key(
        context.control_log,
        await _environment(request),
        workspace_id=caller.workspace_id,
        name=params.name or NAME_DEFAULT,
        clock=context.clock,
        expires_at=Timestamp(params.expires_at) if params.expires_at is not None else None,
    )
    return json_bytes(orjson.dumps({**_shown(made), "key": key}))


async def list_keys(request: web.Request) -> web.Response:
    """The environment's keys that are not revoked, newest first; they fit one page."""
    environment = await _environment(request)
    keys = await environment_keys.list_environment_keys(context_of(request).control_log, environment.id)
    return json_page([orjson.dumps(_shown(key)) for key in keys], next_page=None)


async def revoke(request: web.Request) -> web.Response:
    """End a key for good; what is open with it ends too."""
    context, environment = context_of(request), await _environment(request)
    key_id = ApiKeyId(path_id(request, "key_id", "apikey_", "environment key"))
    revoked = await environment_keys.revoke_environment_key(
        context.control_log, environment.id, key_id, clock=context.clock
    )
    await keys_of(request).refresh(revoked.id)
    return json_bytes(orjson.dumps({"id": revoked.id, "type": "environment_key_deleted"}))


async def _environment(request: web.Request) -> Environment:
    return await find(request, ENVIRONMENTS, id_in_path(request, "environment_id", ENVIRONMENT))


def _shown(key: ApiKey) -> dict[str, str | None]:
    """What clients see of a key: never its hash."""
    return {
        "id": key.id,
        "type": "environment_key",
        "environment_id": key.environment_id,
        "name": key.name,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
