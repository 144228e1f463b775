"""``/v1/memory_stores/{memory_store_id}/memories``: create, list, retrieve, update, delete.

A sessions token reaches these routes for the stores of its session; ``access/authorisation.py`` has said so before.
"""

import hashlib
from collections.abc import Sequence

from aiohttp import web

from efferent.common.domain.control.memory import MEMORIES_MAX, MEMORY
from efferent.common.domain.control.memory_paths import ListedPath, list_paths
from efferent.common.domain.ids import MemoryId, MemoryStoreId
from efferent.common.domain.resources.memory import ApiActor, Memory, MemoryPrefix, SessionActor
from efferent.common.memory.store import MEMORY_STORES, Author
from efferent.gateway import cursors
from efferent.gateway.access.principals import ApiKeyHolder, EnvironmentKeyHolder, SessionsTokenHolder
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, find, id_in_path
from efferent.gateway.control.listing import LIMIT_DEFAULT, LIMIT_MAX
from efferent.gateway.control.memory_params import (
    FULL_LIMIT_MAX,
    CreateMemoryParams,
    UpdateMemoryParams,
    query_is_shallow,
    query_prefix,
    query_sha256,
    query_view,
)
from efferent.gateway.control.tables import ListQuery
from efferent.gateway.cursors import Cursor
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_deleted, json_page, json_resource
from efferent.gateway.routes.memory_stores import store_id_of
from efferent.gateway.validation import check_query, query_limit

_ALL = "/v1/memory_stores/{memory_store_id}/memories"
_ONE = f"{_ALL}/{{memory_id}}"


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post(_ALL, create),
        web.get(_ALL, list_memories),
        web.get(_ONE, retrieve),
        web.post(_ONE, update),
        web.delete(_ONE, delete),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a memory at a path where there is none."""
    view = query_view(request, "basic")
    params = await body_as(request, CreateMemoryParams)
    made = await context_of(request).memories.create(
        author_of(request), store_id_of(request), params.path, params.content
    )
    return json_resource(made.shown(params.content if view == "full" else None))


async def retrieve(request: web.Request) -> web.Response:
    """One memory, with its content unless that is not wanted."""
    memories, workspace_id = context_of(request).memories, caller_of(request).workspace_id
    store_id, memory_id = store_id_of(request), _id(request)
    if query_view(request, "full") == "basic":
        return json_resource((await memories.get(workspace_id, store_id, memory_id)).shown())
    found, content = await memories.read(workspace_id, store_id, memory_id)
    return json_resource(found.shown(content))


async def update(request: web.Request) -> web.Response:
    """Change the content, the path, or both."""
    view = query_view(request, "basic")
    memories, store_id, memory_id = context_of(request).memories, store_id_of(request), _id(request)
    params = await body_as(request, UpdateMemoryParams)
    changed = await memories.update(author_of(request), store_id, memory_id, params.change())
    if view == "basic":
        return json_resource(changed.shown())
    content = params.content
    if content is None:
        content = await memories.content(store_id, changed.memory_version_id)
    return json_resource(changed.shown(content))


async def delete(request: web.Request) -> web.Response:
    """Remove a memory; its versions stay."""
    memory_id = _id(request)
    expected = query_sha256(request, "expected_content_sha256")
    await context_of(request).memories.delete(author_of(request), store_id_of(request), memory_id, expected)
    return json_deleted(MEMORY, memory_id)


async def list_memories(request: web.Request) -> web.Response:
    """The memories below a folder by path; what lies deeper as one line per folder when that is asked for."""
    check_query(request, "limit", "page", "path_prefix", "depth", "view")
    store_id, workspace_id = store_id_of(request), caller_of(request).workspace_id
    prefix, is_shallow, view = query_prefix(request), query_is_shallow(request), query_view(request, "basic")
    limit = query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX)
    limit = min(limit, FULL_LIMIT_MAX) if view == "full" else limit
    list_name = _list_name(store_id, prefix, is_shallow=is_shallow)
    after = _after(request, list_name)
    await find(request, MEMORY_STORES, store_id)
    query = ListQuery(
        kind=MEMORY.name, workspace_id=workspace_id, limit=MEMORIES_MAX, order="asc", parent=store_id, sort="path"
    )
    items, _ = await context_of(request).control.resources(query)
    bodies = {item.key: item.body for item in items}
    lines = list_paths(bodies, prefix=prefix, is_shallow=is_shallow, after=after, limit=limit + 1)
    page = lines[:limit]
    next_page = None
    if len(lines) > limit:
        next_page = cursors.write(Cursor((page[-1].path,)), kind=list_name, workspace_id=workspace_id, order="asc")
    return json_page(await _bodies(request, page, bodies, with_contents=view == "full"), next_page=next_page)


def author_of(request: web.Request) -> Author:
    """Who writes, as versions name it: a session for its worker, else the API key."""
    caller = caller_of(request)
    match caller.principal:
        case SessionsTokenHolder(session_id=session_id):
            return Author(caller.actor, SessionActor(session_id=session_id))
        case ApiKeyHolder() | EnvironmentKeyHolder():
            return Author(caller.actor, ApiActor(api_key_id=caller.key_id))


async def _bodies(
    request: web.Request, page: Sequence[ListedPath], bodies: dict[str, bytes], *, with_contents: bool
) -> list[bytes]:
    if not with_contents:
        return [_prefix(line) if line.is_prefix else bodies[line.path] for line in page]
    found = {line.path: Memory.model_validate_json(bodies[line.path]) for line in page if not line.is_prefix}
    contents = await context_of(request).memories.contents(
        store_id_of(request), [one.memory_version_id for one in found.values()]
    )
    full = {
        path: one.model_copy(update={"content": content}).model_dump_json().encode()
        for (path, one), content in zip(found.items(), contents, strict=True)
    }
    return [_prefix(line) if line.is_prefix else full[line.path] for line in page]


def _prefix(line: ListedPath) -> bytes:
    return MemoryPrefix(path=line.path).model_dump_json().encode()


def _list_name(store_id: MemoryStoreId, prefix: str, *, is_shallow: bool) -> str:
    """A cursor belongs to the list of one folder; prefixes are long, so their digest stands for them."""
    digest = hashlib.sha256(prefix.encode()).hexdigest()[:16]
    return f"{MEMORY.name}:{store_id}:{int(is_shallow)}:{digest}"


def _after(request: web.Request, list_name: str) -> str | None:
    text = request.query.get("page")
    if not text:
        return None
    workspace_id = caller_of(request).workspace_id
    cursor = cursors.read(text, kind=list_name, workspace_id=workspace_id, order="asc", width=1)
    match cursor.position:
        case (str(path),):
            return path
        case _:
            raise InvalidRequest(cursors.INVALID_TEXT)


def _id(request: web.Request) -> MemoryId:
    return MemoryId(id_in_path(request, "memory_id", MEMORY))
