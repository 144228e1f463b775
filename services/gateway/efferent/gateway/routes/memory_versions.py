"""``/v1/memory_stores/{memory_store_id}/memory_versions``: list, retrieve, redact."""

from collections.abc import Sequence

from aiohttp import web

from efferent.common.domain.control import memory
from efferent.common.domain.control.memory import MEMORY_VERSION
from efferent.common.domain.ids import MemoryStoreId
from efferent.common.domain.resources.memory import MemoryVersion
from efferent.common.memory.store import MEMORY_STORES
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import find, id_in_path
from efferent.gateway.control.listing import LIMIT_MAX, Wanted, read_page
from efferent.gateway.control.memory_params import FULL_LIMIT_MAX, query_view
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.responses import json_page, json_resource
from efferent.gateway.routes.memories import author_of
from efferent.gateway.routes.memory_stores import store_id_of
from efferent.gateway.validation import not_valid, query_times

_ALL = "/v1/memory_stores/{memory_store_id}/memory_versions"
_ONE = f"{_ALL}/{{memory_version_id}}"
_FILTERS = ("memory_id", "operation", "session_id", "api_key_id", "service_account_id")
_OPERATIONS = ("created", "modified", "deleted")


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.get(_ALL, list_versions),
        web.get(_ONE, retrieve),
        web.post(f"{_ONE}/redact", redact),
    ]


async def list_versions(request: web.Request) -> web.Response:
    """The versions of all memories of a store, also of those that are deleted, newest first."""
    store = await find(request, MEMORY_STORES, store_id_of(request))
    view = query_view(request, "basic")
    wanted = Wanted(
        query_names=("view", "created_at[gte]", "created_at[lte]", *_FILTERS),
        created_at=query_times(request, "created_at"),
        parent=store.id,
        facets=_facets(request),
        has_archived=False,
        limit_max=LIMIT_MAX,
        page_max=FULL_LIMIT_MAX if view == "full" else None,
    )
    page = await read_page(request, MEMORY_VERSION, wanted)
    bodies = page.bodies if view == "basic" else await _with_contents(request, store.id, page.bodies)
    return json_page(bodies, next_page=page.next_page)


async def retrieve(request: web.Request) -> web.Response:
    """One version, with what the memory said unless that is not wanted."""
    view = query_view(request, "full")
    version = await _find(request)
    return json_resource(version if view == "basic" else (await _filled(request, [version]))[0])


async def redact(request: web.Request) -> web.Response:
    """Remove for good what a version says; that there was one stays."""
    return json_resource(await context_of(request).memories.redact(author_of(request), await _find(request)))


def _facets(request: web.Request) -> dict[str, str]:
    operation = request.query.get("operation")
    if operation and operation not in _OPERATIONS:
        raise InvalidRequest(f"operation: {not_valid(operation, _OPERATIONS)}")
    return {name: value for name in _FILTERS if (value := request.query.get(name))}


async def _find(request: web.Request) -> MemoryVersion:
    """The version in the path. Raises NotFound, InvalidRequest, Overloaded, LogUnavailable."""
    store_id = store_id_of(request)
    version_id = id_in_path(request, "memory_version_id", MEMORY_VERSION)
    await find(request, MEMORY_STORES, store_id)
    workspace_id = caller_of(request).workspace_id
    found = await context_of(request).control.resource(MEMORY_VERSION.name, workspace_id, version_id)
    if found is None or found[0] != store_id:
        raise memory.version_not_found()
    return MemoryVersion.model_validate_json(found[1])


async def _with_contents(request: web.Request, store_id: MemoryStoreId, bodies: Sequence[bytes]) -> list[bytes]:
    filled = await _filled(request, [MemoryVersion.model_validate_json(body) for body in bodies])
    return [version.model_dump_json().encode() for version in filled]


async def _filled(request: web.Request, versions: Sequence[MemoryVersion]) -> list[MemoryVersion]:
    """The versions with what they say, where it is still there."""
    telling = [version.id for version in versions if version.has_content]
    contents = await context_of(request).memories.contents(store_id_of(request), telling)
    said = dict(zip(telling, contents, strict=True))
    return [version.model_copy(update={"content": said.get(version.id)}) for version in versions]
