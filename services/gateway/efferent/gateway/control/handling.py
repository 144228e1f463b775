"""What the handlers of all control-plane resources do alike: read the body, find one, change one."""

from typing import Any

from aiohttp import web
from pydantic import BaseModel

from efferent.common.control.collection import Collection
from efferent.common.domain import ids
from efferent.common.domain.control.aggregate import Kind
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.request_body import read_body
from efferent.gateway.validation import parse_body, path_id


def new_id(request: web.Request, kind: Kind[Any]) -> str:
    """A fresh id for a resource of this kind."""
    return ids.from_seed(kind.prefix, context_of(request).ids.seed())


def id_in_path(request: web.Request, parameter: str, kind: Kind[Any]) -> str:
    """The id of a resource of this kind in the path. Raises InvalidRequest when it cannot be one."""
    return path_id(request, parameter, kind.prefix, kind.noun)


async def body_as[Shape: BaseModel](request: web.Request, shape: type[Shape]) -> Shape:
    """The request's body. Raises InvalidRequest, RequestTooLarge."""
    return parse_body(shape, await read_body(request, context_of(request).settings.body_bytes_max))


async def find[R: Any, C](
    request: web.Request, collection: Collection[R, C], identifier: str, *, within: str | None = None
) -> R:
    """One resource of the caller's workspace. Raises NotFound, LogUnavailable."""
    context, caller = context_of(request), caller_of(request)
    return await collection.get(context.aggregates, caller.workspace_id, identifier, within=within)


async def change[R: Any, C](
    request: web.Request, collection: Collection[R, C], identifier: str, command: C, *, within: str | None = None
) -> R:
    """Carry out a command for the caller; the resource after it. Raises Refused, LogUnavailable, LogConflict."""
    context, caller = context_of(request), caller_of(request)
    return await collection.change(context.aggregates, caller.actor, identifier, command, within=within)
