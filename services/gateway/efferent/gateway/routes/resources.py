"""``/v1/sessions/{session_id}/resources``: add, list, retrieve, rotate a token, delete."""

from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from efferent.common.domain import ids
from efferent.common.domain.attachments import check_addition, check_rotation, find
from efferent.common.domain.commands import AddFile, RemoveResource, RotateRepositoryToken
from efferent.common.domain.decide_resources import tokens_moved
from efferent.common.domain.ids import SessionResourceId
from efferent.common.domain.mount_paths import upload_path
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.session_resource import (
    FileResource,
    GithubRepositoryResource,
    MemoryStoreResource,
)
from efferent.common.domain.state import SessionState
from efferent.common.secrets.envelope import CannotOpen
from efferent.gateway import cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.request_body import read_body
from efferent.gateway.responses import json_bytes, json_page, json_resource
from efferent.gateway.routes.events import session_id_of
from efferent.gateway.sessions.resource_params import FileResourceParams, RotateTokenParams, file_spec
from efferent.gateway.sessions.services import sessions_of
from efferent.gateway.validation import check_query, parse_body, query_int

LIMIT_MAX: Final = 1_000


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    every = "/v1/sessions/{session_id}/resources"
    one = f"{every}/{{resource_id}}"
    return [
        web.post(every, add),
        web.get(every, list_resources),
        web.get(one, retrieve),
        web.post(one, rotate_token),
        web.delete(one, delete),
    ]


async def add(request: web.Request) -> web.Response:
    """Attach a copy of a file; the sandbox has it before its next call."""
    context, services = context_of(request), sessions_of(request)
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    params = parse_body(FileResourceParams, await read_body(request, context.settings.body_bytes_max))
    spec = file_spec(params)
    path = upload_path(spec.mount_path, spec.file_id)
    # Asked before the file is copied, so that most refusals leave nothing to undo; decided again on the newest state.
    check_addition((await services.store.load(session_id, workspace_id)).state, path)
    file = await context.attacher.copy_file(workspace_id, session_id, spec, path, services.ids.seed())
    try:
        executed = await services.store.execute(session_id, workspace_id, AddFile(file))
    except Refused:
        await context.attacher.drop_file(workspace_id, file.file_id)
        raise
    return json_resource(find(executed.decision.state.resources, file.id).resource)


async def list_resources(request: web.Request) -> web.Response:
    """A page of what is attached, in the order of attaching; without a limit all of it."""
    check_query(request, "limit", "page")
    limit = query_int(request, "limit", low=1, high=LIMIT_MAX) or LIMIT_MAX
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    state = (await sessions_of(request).store.load(session_id, workspace_id)).state
    kind = f"resources/{session_id}"
    held = [item.resource for item in state.resources]
    start = 0
    if text := request.query.get("page"):
        cursor = cursors.read(text, kind=kind, workspace_id=workspace_id, order="asc", width=1)
        names = [_name(resource) for resource in held]
        if cursor.position[0] not in names:
            raise InvalidRequest(cursors.INVALID_TEXT)  # it was taken away meanwhile
        start = names.index(str(cursor.position[0])) + 1
    page = held[start : start + limit]
    next_page = None
    if start + limit < len(held):
        next_page = cursors.write(cursors.Cursor((_name(page[-1]),)), kind=kind, workspace_id=workspace_id, order="asc")
    return json_page([resource.model_dump_json().encode() for resource in page], next_page=next_page)


async def retrieve(request: web.Request) -> web.Response:
    """One resource."""
    state = await _state(request)
    return json_resource(find(state.resources, _resource_id_of(request)).resource)


async def rotate_token(request: web.Request) -> web.Response:
    """Use another token for a repository from now on."""
    context, services = context_of(request), sessions_of(request)
    params = parse_body(RotateTokenParams, await read_body(request, context.settings.body_bytes_max))
    state, resource_id = await _state(request), _resource_id_of(request)
    check_rotation(state, resource_id)
    before, session_id = state.sealed_tokens, state.session_id
    try:
        sealed = await context.attacher.with_token(session_id, before, resource_id, params.authorization_token)
    except CannotOpen:
        if (await _state(request)).sealed_tokens == before:
            raise
        raise tokens_moved() from None  # rotated, and its key destroyed, since it was read
    command = RotateRepositoryToken(resource_id, sealed, replaces=before)
    try:
        executed = await services.store.execute(session_id, state.workspace_id, command)
    except Refused:
        await context.attacher.forget_tokens(session_id, sealed)
        raise
    if before is not None:
        await context.attacher.forget_tokens(session_id, before)
    return json_resource(find(executed.decision.state.resources, resource_id).resource)


async def delete(request: web.Request) -> web.Response:
    """Take a file away from the session."""
    services = sessions_of(request)
    state, resource_id = await _state(request), _resource_id_of(request)
    resource = find(state.resources, resource_id).resource
    await services.store.execute(state.session_id, state.workspace_id, RemoveResource(resource_id))
    if isinstance(resource, FileResource):
        await context_of(request).attacher.drop_file(state.workspace_id, resource.file_id)
    return json_bytes(orjson.dumps({"id": resource_id, "type": "session_resource_deleted"}))


async def _state(request: web.Request) -> SessionState:
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    return (await sessions_of(request).store.load(session_id, workspace_id)).state


def _resource_id_of(request: web.Request) -> SessionResourceId:
    text = request.match_info["resource_id"]
    if not ids.is_well_formed("sesrsc_", text):
        raise InvalidRequest("Invalid session resource ID.")
    return SessionResourceId(text)


def _name(resource: FileResource | GithubRepositoryResource | MemoryStoreResource) -> str:
    return resource.memory_store_id if isinstance(resource, MemoryStoreResource) else resource.id
