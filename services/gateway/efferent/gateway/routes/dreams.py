"""``/v1/dreams``: create, list, retrieve, cancel, archive. The automation dreams."""

from collections.abc import Sequence
from typing import Final, get_args

from aiohttp import web

from efferent.common.control.dreams import DREAMS
from efferent.common.domain.control.dream import DREAM, SESSIONS_MAX, ArchiveDream, CancelDream, CreateDream
from efferent.common.domain.ids import DreamId, is_well_formed, parse_session_id
from efferent.common.domain.resources.dream import DreamStatus
from efferent.common.memory.store import MEMORY_STORES
from efferent.common.model_config import UnknownModel
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.dream_params import CreateDreamParams
from efferent.gateway.control.handling import body_as, change, find, id_in_path, new_id
from efferent.gateway.control.listing import Wanted, list_page
from efferent.gateway.errors import InvalidRequest, NotFound
from efferent.gateway.responses import json_shown
from efferent.gateway.sessions.services import SESSIONS
from efferent.gateway.validation import query_list, query_times

STATUSES: Final[tuple[str, ...]] = get_args(DreamStatus)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/dreams", create),
        web.get("/v1/dreams", list_dreams),
        web.get("/v1/dreams/{dream_id}", retrieve),
        web.post("/v1/dreams/{dream_id}/cancel", cancel),
        web.post("/v1/dreams/{dream_id}/archive", archive),
    ]


async def create(request: web.Request) -> web.Response:
    """Ask for a dream; it starts by itself."""
    params = await body_as(request, CreateDreamParams)
    store_id, session_ids = params.sources()
    model = params.dream_model()
    try:
        context_of(request).models.traits(model.id)
    except UnknownModel as error:
        raise InvalidRequest(f"model: {error}") from error
    await _check_store(request, store_id)
    found = [await _session(request, text) for text in session_ids[: SESSIONS_MAX + 1]]
    dream_id = DreamId(new_id(request, DREAM))
    command = CreateDream(dream_id, store_id, tuple(found), model, params.instructions, params.behavior())
    return json_shown(DREAM, await change(request, DREAMS, dream_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One dream."""
    return json_shown(DREAM, await find(request, DREAMS, _id(request)))


async def cancel(request: web.Request) -> web.Response:
    """Let it end; canceling it again changes nothing."""
    return json_shown(DREAM, await change(request, DREAMS, _id(request), CancelDream()))


async def archive(request: web.Request) -> web.Response:
    """Put an ended dream away; archiving it again changes nothing."""
    return json_shown(DREAM, await change(request, DREAMS, _id(request), ArchiveDream()))


async def list_dreams(request: web.Request) -> web.Response:
    """All dreams, newest first."""
    statuses = query_list(request, "statuses", allowed=STATUSES)
    facets = {"status": statuses} if statuses else {}
    return await list_page(request, DREAM, Wanted(created_at=query_times(request, "created_at"), facets=facets))


async def _check_store(request: web.Request, store_id: str) -> None:
    if not is_well_formed("memstore_", store_id):
        raise InvalidRequest("Invalid memory store ID.")
    store = await find(request, MEMORY_STORES, store_id)
    if store.archived_at is not None:
        raise InvalidRequest(f"Memory store {store_id} is archived.")


async def _session(request: web.Request, text: str) -> str:
    session_id = parse_session_id(text)
    if session_id is None:
        raise InvalidRequest("Invalid session ID.")
    try:
        await request.app[SESSIONS].store.load(session_id, caller_of(request).workspace_id)
    except NotFound as error:
        raise NotFound(f"inputs: session {session_id} not found") from error
    return session_id


def _id(request: web.Request) -> str:
    return id_in_path(request, "dream_id", DREAM)
