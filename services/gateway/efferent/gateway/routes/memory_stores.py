"""``/v1/memory_stores``: create, list, retrieve, update, archive, delete."""

from collections.abc import Sequence

from aiohttp import web

from efferent.common.domain.control.memory_store import MEMORY_STORE, ArchiveMemoryStore, CreateMemoryStore
from efferent.common.domain.ids import MemoryStoreId
from efferent.common.memory.store import MEMORY_STORES
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, change, find, id_in_path, new_id
from efferent.gateway.control.listing import Wanted, list_page
from efferent.gateway.control.memory_params import CreateMemoryStoreParams, UpdateMemoryStoreParams
from efferent.gateway.responses import json_deleted, json_shown
from efferent.gateway.validation import query_times

_ONE = "/v1/memory_stores/{memory_store_id}"


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/memory_stores", create),
        web.get("/v1/memory_stores", list_stores),
        web.get(_ONE, retrieve),
        web.post(_ONE, update),
        web.delete(_ONE, delete),
        web.post(f"{_ONE}/archive", archive),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a memory store."""
    params = await body_as(request, CreateMemoryStoreParams)
    store_id = MemoryStoreId(new_id(request, MEMORY_STORE))
    command = CreateMemoryStore(store_id, params.name, params.description or "", params.metadata or {})
    return json_shown(MEMORY_STORE, await change(request, MEMORY_STORES, store_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One store, archived or not."""
    return json_shown(MEMORY_STORE, await find(request, MEMORY_STORES, store_id_of(request)))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    store_id = store_id_of(request)
    params = await body_as(request, UpdateMemoryStoreParams)
    return json_shown(MEMORY_STORE, await change(request, MEMORY_STORES, store_id, params.command()))


async def archive(request: web.Request) -> web.Response:
    """Make the store read-only, with all that is in it."""
    return json_shown(MEMORY_STORE, await change(request, MEMORY_STORES, store_id_of(request), ArchiveMemoryStore()))


async def delete(request: web.Request) -> web.Response:
    """Remove the store with its memories and their versions."""
    store_id = store_id_of(request)
    await context_of(request).memories.delete_store(caller_of(request).actor, store_id)
    return json_deleted(MEMORY_STORE, store_id)


async def list_stores(request: web.Request) -> web.Response:
    """All stores, newest first."""
    created_at = query_times(request, "created_at")
    return await list_page(request, MEMORY_STORE, Wanted(("created_at[gte]", "created_at[lte]"), created_at))


def store_id_of(request: web.Request) -> MemoryStoreId:
    """The store in the path. Raises InvalidRequest."""
    return MemoryStoreId(id_in_path(request, "memory_store_id", MEMORY_STORE))
