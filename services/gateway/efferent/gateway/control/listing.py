"""One page of a kind's resources: the list route that all kinds of the control plane share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web

from efferent.common.domain.control.aggregate import Kind
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway import cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.tables import ListQuery
from efferent.gateway.cursors import Cursor, Order
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_page
from efferent.gateway.validation import check_query, query_bool, query_limit

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100

Bounds = Mapping[Literal["gt", "gte", "lt", "lte"], Timestamp]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one list asks for besides its page; query parameters that it is made of are named in ``query_names``."""

    query_names: Sequence[str] = ()
    created_at: Bounds = field(default_factory=dict)
    parent: str | None = None
    facets: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    order: Order = "desc"
    sort: str = "created_at"
    has_archived: bool = True
    """Whether the list takes ``include_archived``; a list that does not shows archived ones as well."""
    limit_max: int = LIMIT_MAX
    page_max: int | None = None
    """How many items a page has at most, whatever limit is asked for."""
    after: tuple[str, str] | None = None
    """The (sort key, id) that a page starts behind when the request has no cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: bodies as clients get them, and where it goes on."""

    bodies: list[bytes]
    next_page: str | None


async def list_page(request: web.Request, kind: Kind[Any], wanted: Wanted | None = None) -> web.Response:
    """Newest first unless it is asked otherwise; archived ones only when asked for.

    Raises InvalidRequest, Overloaded, LogUnavailable.
    """
    page = await read_page(request, kind, wanted or Wanted())
    return json_page(page.bodies, next_page=page.next_page)


async def read_page(request: web.Request, kind: Kind[Any], wanted: Wanted) -> Page:
    """The page that a request asks for; see ``list_page``."""
    archived = ("include_archived",) if wanted.has_archived else ()
    check_query(request, "limit", "page", *archived, *wanted.query_names)
    workspace_id = caller_of(request).workspace_id
    limit = query_limit(request, default=LIMIT_DEFAULT, high=wanted.limit_max)
    query = ListQuery(
        kind=kind.name,
        workspace_id=workspace_id,
        limit=limit if wanted.page_max is None else min(limit, wanted.page_max),
        order=wanted.order,
        after=_after(request, kind, workspace_id, wanted),
        include_archived=query_bool(request, "include_archived") if wanted.has_archived else True,
        created_gt=wanted.created_at.get("gt"),
        created_gte=wanted.created_at.get("gte"),
        created_lt=wanted.created_at.get("lt"),
        created_lte=wanted.created_at.get("lte"),
        parent=wanted.parent,
        facets=wanted.facets,
        sort=wanted.sort,
    )
    items, has_more = await context_of(request).control.resources(query)
    next_page = None
    if has_more:
        position = Cursor((items[-1].key, items[-1].id))
        next_page = cursors.write(
            position, kind=_list_name(kind, wanted), workspace_id=workspace_id, order=wanted.order
        )
    return Page([item.body for item in items], next_page)


def _after(request: web.Request, kind: Kind[Any], workspace_id: WorkspaceId, wanted: Wanted) -> tuple[str, str] | None:
    text = request.query.get("page")
    if not text:
        return wanted.after
    cursor = cursors.read(text, kind=_list_name(kind, wanted), workspace_id=workspace_id, order=wanted.order, width=2)
    match cursor.position:
        case (str(key), str(identifier)):
            if wanted.sort == "created_at" and _excluded(key, wanted.created_at):
                raise InvalidRequest("page: the created_at filter excludes the position of the page cursor")
            return key, identifier
        case _:
            raise InvalidRequest(cursors.INVALID_TEXT)


def _list_name(kind: Kind[Any], wanted: Wanted) -> str:
    """A cursor belongs to the list of one kind, of one parent, in one sorting."""
    return ":".join(filter(None, (kind.name, wanted.parent, "" if wanted.sort == "created_at" else wanted.sort)))


def _excluded(moment: str, bounds: Bounds) -> bool:
    return (
        ("gt" in bounds and moment <= bounds["gt"])
        or ("gte" in bounds and moment < bounds["gte"])
        or ("lt" in bounds and moment >= bounds["lt"])
        or ("lte" in bounds and moment > bounds["lte"])
    )
