"""``/v1/files``: upload, list, retrieve, download, delete. The same routes with and without beta headers."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web

from efferent.common.domain import ids, timestamp
from efferent.common.domain.control import file as rules
from efferent.common.domain.control.file import FILE
from efferent.common.domain.ids import SessionId
from efferent.common.files.store import StoredBytes
from efferent.gateway import beta
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import id_in_path
from efferent.gateway.control.listing import Page, Wanted, read_page
from efferent.gateway.control.tables import ListQuery
from efferent.gateway.errors import InvalidRequest, NotFound, RequestTooLarge
from efferent.gateway.files import downloads
from efferent.gateway.files.multipart import FormPart, form_parts
from efferent.gateway.responses import json_deleted, json_page, json_shown
from efferent.gateway.validation import check_query, query_list, quoted

LIMIT_MAX: Final = 1_000
BY_ID_BETA: Final = "files-api-2025-04-14"
IDS_MAX: Final = 100
FORM_BYTES: Final = 1024 * 1024
"""What a form may have around its file."""


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/files", upload),
        web.get("/v1/files", list_files),
        web.get("/v1/files/{file_id}", retrieve),
        web.get("/v1/files/{file_id}/content", download),
        web.delete("/v1/files/{file_id}", delete),
    ]


async def upload(request: web.Request) -> web.Response:
    """Take in a file as it comes; it is never held whole."""
    context, actor = context_of(request), caller_of(request).actor
    services = context.file_services
    bytes_max = services.settings.bytes_max
    if request.content_length is not None and request.content_length > bytes_max + FORM_BYTES:
        raise RequestTooLarge(f"file: larger than {bytes_max} bytes")
    form = _UploadForm(request)
    async with AsyncExitStack() as room:
        try:
            stored, part = await form.read()
            await room.enter_async_context(services.room.held(actor.workspace_id, stored.digest.size_bytes))
        except BaseException:
            await form.discard()
            raise
        file = await services.files.upload(
            actor, stored, filename=part.filename, mime_type=part.content_type, expires_in_s=form.expires_in_s
        )
    return json_shown(FILE, file)


async def list_files(request: web.Request) -> web.Response:
    """All files, or those of a session, newest first; or those that are asked for by their ids."""
    context, scope = context_of(request), _scope(request)
    if wanted_ids := _wanted_ids(request):
        workspace_id = caller_of(request).workspace_id
        query = ListQuery(kind=FILE.name, workspace_id=workspace_id, limit=IDS_MAX, ids=wanted_ids, parent=scope)
        items, _ = await context.control.resources(query)
        page = Page([item.body for item in items], None)
    else:
        wanted = Wanted(query_names=("scope_id",), parent=scope, has_archived=False, limit_max=LIMIT_MAX)
        if _goes_on_by_id(request):
            return await _page_by_id(request, wanted)
        page = await read_page(request, FILE, wanted)
    return json_page(_unexpired(request, page.bodies), next_page=page.next_page)


async def retrieve(request: web.Request) -> web.Response:
    """What is known of one file."""
    services = context_of(request).file_services
    file = await services.files.get(caller_of(request).workspace_id, id_in_path(request, "file_id", FILE))
    return json_shown(FILE, file)


async def download(request: web.Request) -> web.StreamResponse:
    """The bytes of a file that an agent made."""
    files = context_of(request).file_services.files
    file = await files.get(caller_of(request).workspace_id, id_in_path(request, "file_id", FILE))
    if not file.downloadable:
        raise rules.not_downloadable(file.id)
    return await downloads.send_blob(
        request,
        files.content(file),
        filename=file.filename,
        media_type=file.mime_type,
        size_bytes=file.size_bytes,
        missing=NotFound(rules.not_found().message),
    )


async def delete(request: web.Request) -> web.Response:
    """Remove a file; sessions keep the copies that they have."""
    services = context_of(request).file_services
    file = await services.files.delete(caller_of(request).actor, id_in_path(request, "file_id", FILE))
    return json_deleted(FILE, file.id)


class _UploadForm:
    """The form of an upload: the file, and how long it is kept, in any order."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._files = context_of(request).file_services.files
        self._stored: StoredBytes | None = None
        self.expires_in_s: int | None = None

    async def read(self) -> tuple[StoredBytes, FormPart]:
        """Store the file's bytes. Raises InvalidRequest, RequestTooLarge, TooLarge, BlobsUnavailable."""
        file: FormPart | None = None
        async for part in form_parts(self._request):
            match part.name:
                case "file" if file is None:
                    file = part
                    self._stored = await self._files.receive(part.chunks())
                case "expires_in_seconds" if self.expires_in_s is None:
                    self.expires_in_s = _expiry(await part.text())
                case "file" | "expires_in_seconds":
                    raise InvalidRequest(f"Failed to parse request: {part.name}: given more than once")
                case _:
                    raise InvalidRequest(f"Failed to parse request: {part.name[:100]}: unknown field")
        if file is None or self._stored is None:
            raise InvalidRequest("Failed to parse request: file: field is required")
        return self._stored, file

    async def discard(self) -> None:
        """Delete what was stored."""
        if self._stored is not None:
            await self._files.discard(self._stored)


def _expiry(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise InvalidRequest(f"Failed to parse request: expires_in_seconds: {quoted(text)} is not a valid integer")
    return rules.checked_expiry(int(text))


def _goes_on_by_id(request: web.Request) -> bool:
    """Whether the client is one of the time when lists went on behind, or before, the id of a file."""
    return BY_ID_BETA in beta.parse(request.headers.getall("anthropic-beta", []))


async def _page_by_id(request: web.Request, wanted: Wanted) -> web.Response:
    """A page for such a client; it has the present cursor as well. Raises InvalidRequest."""
    check_query(request, "after_id", "before_id")
    after_id, before_id = request.query.get("after_id"), request.query.get("before_id")
    if after_id and before_id:
        raise InvalidRequest("after_id: only one of after_id and before_id may be given")
    if after_id:
        wanted = replace(wanted, after=await _position(request, wanted, "after_id", after_id))
    elif before_id:  # the list read from its other end, and turned round
        start = await _position(request, wanted, "before_id", before_id)
        wanted = replace(wanted, order="asc", after=start)
    page = await read_page(request, FILE, wanted)
    bodies = page.bodies[::-1] if before_id else page.bodies
    ends = [orjson.loads(body)["id"] for body in (bodies[0], bodies[-1])] if bodies else [None, None]
    return json_page(
        _unexpired(request, bodies),
        next_page=None if before_id else page.next_page,
        has_more=page.next_page is not None,
        first_id=ends[0],
        last_id=ends[1],
    )


async def _position(request: web.Request, wanted: Wanted, parameter: str, file_id: str) -> tuple[str, str]:
    query = ListQuery(
        kind=FILE.name, workspace_id=caller_of(request).workspace_id, limit=1, ids=(file_id,), parent=wanted.parent
    )
    items, _ = await context_of(request).control.resources(query)
    if not items:
        raise InvalidRequest(f"{parameter}: there is no file {quoted(file_id)} in this list")
    return items[0].key, items[0].id


def _unexpired(request: web.Request, bodies: Sequence[bytes]) -> list[bytes]:
    """Files whose time is over are removed a little later; until then a page may be shorter than its limit."""
    now = timestamp.from_epoch_us(context_of(request).clock.now_us())
    return [body for body in bodies if (orjson.loads(body)["expires_at"] or "~") > now]


def _wanted_ids(request: web.Request) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(query_list(request, "ids")))
    if not wanted:
        return ()
    if len(wanted) > IDS_MAX:
        raise InvalidRequest(f"ids: at most {IDS_MAX} ids are allowed")
    for other in ("page", "limit"):
        if request.query.get(other):
            raise InvalidRequest(f"{other}: cannot be combined with ids")
    return wanted


def _scope(request: web.Request) -> SessionId | None:
    text = request.query.get("scope_id")
    if not text:
        return None
    session_id = ids.parse_session_id(text)
    if session_id is None:
        raise InvalidRequest("scope_id: not the id of a session")
    return session_id
