"""One page of a kind's resources: the list route that all kinds of the control plane share."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from aiohttp import web

from efferent.common.domain.control.aggregate import Kind
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway import cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.tables import Item, ListQuery
from efferent.gateway.cursors import Cursor, Order
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_page
from efferent.gateway.validation import check_query, query_bool, query_limit

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
_ORDER: Final[Order] = "desc"

Bounds = Mapping[Literal["gt", "gte", "lt", "lte"], Timestamp]


async def list_page(request: web.Request, kind: Kind[Any], *, created_at: Bounds) -> web.Response:
    """Newest first; archived ones only when asked for. Raises InvalidRequest, Overloaded, LogUnavailable."""
    check_query(request, "limit", "page", "include_archived")
    workspace_id = caller_of(request).workspace_id
    query = ListQuery(
        kind=kind.name,
        workspace_id=workspace_id,
        limit=query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX),
        order=_ORDER,
        after=_after(request, kind, workspace_id, created_at),
        include_archived=query_bool(request, "include_archived"),
        created_gt=created_at.get("gt"),
        created_gte=created_at.get("gte"),
        created_lt=created_at.get("lt"),
        created_lte=created_at.get("lte"),
    )
    items, has_more = await context_of(request).control.resources(query)
    next_page = _cursor(items[-1], kind, workspace_id) if has_more else None
    return json_page([item.body for item in items], next_page=next_page)


def _after(
    request: web.Request, kind: Kind[Any], workspace_id: WorkspaceId, created_at: Bounds
) -> tuple[str, str] | None:
    text = request.query.get("page")
    if not text:
        return None
    cursor = cursors.read(text, kind=kind.name, workspace_id=workspace_id, order=_ORDER, width=2)
    match cursor.position:
        case (str(moment), str(identifier)):
            if _excluded(moment, created_at):
                raise InvalidRequest("page: the created_at filter excludes the position of the page cursor")
            return moment, identifier
        case _:
            raise InvalidRequest(cursors.INVALID_TEXT)


def _excluded(moment: str, bounds: Bounds) -> bool:
    return (
        ("gt" in bounds and moment <= bounds["gt"])
        or ("gte" in bounds and moment < bounds["gte"])
        or ("lt" in bounds and moment >= bounds["lt"])
        or ("lte" in bounds and moment > bounds["lte"])
    )


def _cursor(item: Item, kind: Kind[Any], workspace_id: WorkspaceId) -> str:
    return cursors.write(Cursor((item.created_at, item.id)), kind=kind.name, workspace_id=workspace_id, order=_ORDER)
