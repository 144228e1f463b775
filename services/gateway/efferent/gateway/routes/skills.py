"""``/v1/skills`` and their versions. The same routes with and without beta headers."""

import re
from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from efferent.common.domain import ids
from efferent.common.domain.control.skill import SKILL
from efferent.common.domain.ids import SkillId, SkillVersionId, WorkspaceId
from efferent.common.domain.resources.skill import (
    Skill,
    SkillVersion,
    SkillVersionMetadata,
    numbered_version_metadata,
    version_metadata,
)
from efferent.common.skills.package import ENTRIES_MAX, UPLOAD_BYTES_MAX, UploadedPart
from efferent.common.skills.resolver import LATEST
from efferent.common.skills.store import SkillStore
from efferent.gateway import beta, cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import id_in_path
from efferent.gateway.control.listing import LIMIT_DEFAULT, Wanted, read_page
from efferent.gateway.cursors import Cursor
from efferent.gateway.errors import InvalidRequest, NotFound, RequestTooLarge
from efferent.gateway.files import downloads
from efferent.gateway.files.multipart import FormPart, form_parts
from efferent.gateway.responses import json_bytes, json_deleted, json_page, json_resource, json_shown
from efferent.gateway.validation import check_query, not_valid, query_limit

LIMIT_MAX: Final = 1_000
FORM_BYTES: Final = 4 * 1024 * 1024
"""What a form may have around its files: paths and headers of thousands."""
SOURCES: Final = ("custom", "anthropic", "anthropic_example", "plugin")
NUMBERED_VERSIONS_BETA: Final = "skills-2025-10-02"
VERSION_NOT_FOUND_TEXT: Final = "Skill version not found."

_SKILLS: Final = "/v1/skills"
_SKILL: Final = f"{_SKILLS}/{{skill_id}}"
_VERSIONS: Final = f"{_SKILL}/versions"
_VERSION: Final = f"{_VERSIONS}/{{version}}"
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_FILES: Final = ("files[]", "files", "file")
_DISPLAY_NAMES: Final = ("display_name", "display_title")
"""The second is what older clients call it."""


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post(_SKILLS, create),
        web.get(_SKILLS, list_skills),
        web.get(_SKILL, retrieve),
        web.delete(_SKILL, delete),
        web.post(_VERSIONS, create_version),
        web.get(_VERSIONS, list_versions),
        web.get(_VERSION, retrieve_version),
        web.delete(_VERSION, delete_version),
        web.get(f"{_VERSION}/content", download_version),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a skill of a zip or of files sent one by one."""
    parts, display_name = await _read_form(request, takes_display_name=True)
    return json_shown(
        SKILL, await _store(request).create(caller_of(request).actor, parts, display_name=display_name or None)
    )


async def retrieve(request: web.Request) -> web.Response:
    """One skill."""
    return json_shown(SKILL, await _skill(request))


async def list_skills(request: web.Request) -> web.Response:
    """All skills, newest first. All of them are custom ones."""
    source = request.query.get("source") or "custom"
    if source not in SOURCES:
        raise InvalidRequest(f"source: {not_valid(source, SOURCES)}")
    page = await read_page(request, SKILL, Wanted(query_names=("source",), has_archived=False, limit_max=LIMIT_MAX))
    if source != "custom":
        return json_page([], next_page=None, has_more=False)
    return json_page(page.bodies, next_page=page.next_page, has_more=page.next_page is not None)


async def delete(request: web.Request) -> web.Response:
    """Remove a skill that has no versions left."""
    skill_id = _skill_id(request)
    await _store(request).delete(caller_of(request).actor, skill_id)
    return json_deleted(SKILL, skill_id)


async def create_version(request: web.Request) -> web.Response:
    """Make the newest version of a skill."""
    skill_id = _skill_id(request)
    parts, _ = await _read_form(request, takes_display_name=False)
    skill, version = await _store(request).add_version(caller_of(request).actor, skill_id, parts)
    return json_resource(_shown(request, skill, version))


async def list_versions(request: web.Request) -> web.Response:
    """The versions of a skill, newest first."""
    check_query(request, "limit", "page")
    workspace_id, skill = caller_of(request).workspace_id, await _skill(request)
    limit = query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX)
    before = _page_position(request, skill, workspace_id)
    newest_first = [
        version for version in reversed(skill.versions) if before is None or (version.created_at, version.id) < before
    ]
    page = newest_first[:limit]
    next_page = None
    if len(newest_first) > limit:
        position = Cursor((page[-1].created_at, page[-1].id))
        next_page = cursors.write(position, kind=_list_name(skill), workspace_id=workspace_id, order="desc")
    bodies = [_shown(request, skill, version).model_dump_json().encode() for version in page]
    return json_page(bodies, next_page=next_page, has_more=next_page is not None)


async def retrieve_version(request: web.Request) -> web.Response:
    """One version, or the newest as ``latest``."""
    skill, version = await _store(request).version(
        caller_of(request).workspace_id, _skill_id(request), _version_id(request, latest_allowed=True)
    )
    return json_resource(_shown(request, skill, version))


async def delete_version(request: web.Request) -> web.Response:
    """Remove a version; agents that name it keep a reference to nothing."""
    version_id = SkillVersionId(_version_id(request, latest_allowed=False))
    if _NUMBER.fullmatch(version_id):
        _, version = await _store(request).version(caller_of(request).workspace_id, _skill_id(request), version_id)
        version_id = version.id
    await _store(request).delete_version(caller_of(request).actor, _skill_id(request), version_id)
    return json_bytes(orjson.dumps({"id": version_id, "type": "skill_version_deleted"}))


async def download_version(request: web.Request) -> web.StreamResponse:
    """The files of a version, as a zip."""
    store = _store(request)
    skill, version = await store.version(
        caller_of(request).workspace_id, _skill_id(request), _version_id(request, latest_allowed=True)
    )
    return await downloads.send_blob(
        request,
        store.content(skill.id, version.id),
        filename=f"{skill.name}.zip",
        media_type="application/zip",
        size_bytes=version.size_bytes,
        missing=NotFound(VERSION_NOT_FOUND_TEXT),
    )


async def _read_form(request: web.Request, *, takes_display_name: bool) -> tuple[list[UploadedPart], str | None]:
    """The files and the name of an upload. Raises InvalidRequest, RequestTooLarge."""
    too_large = RequestTooLarge(f"files: a skill is at most {UPLOAD_BYTES_MAX} bytes")
    if request.content_length is not None and request.content_length > UPLOAD_BYTES_MAX + FORM_BYTES:
        raise too_large
    parts: list[UploadedPart] = []
    display_name: str | None = None
    left_bytes = UPLOAD_BYTES_MAX
    async for part in form_parts(request):
        if part.name in _FILES:
            if len(parts) >= ENTRIES_MAX:
                raise InvalidRequest(f"files: a skill has at most {ENTRIES_MAX} files")
            data = await _data(part, left_bytes, too_large)
            left_bytes -= len(data)
            parts.append(UploadedPart(part.filename or "", data))
        elif part.name in _DISPLAY_NAMES and takes_display_name and display_name is None:
            display_name = await part.text()
        else:
            raise InvalidRequest(f"Failed to parse request: {part.name[:100]}: unknown field")
    return parts, display_name


async def _data(part: FormPart, bytes_max: int, too_large: RequestTooLarge) -> bytes:
    try:
        return await part.data(bytes_max)
    except RequestTooLarge as error:
        raise too_large from error


def _page_position(request: web.Request, skill: Skill, workspace_id: WorkspaceId) -> tuple[str, str] | None:
    text = request.query.get("page")
    if not text:
        return None
    cursor = cursors.read(text, kind=_list_name(skill), workspace_id=workspace_id, order="desc", width=2)
    match cursor.position:
        case (str(created_at), str(version_id)):
            return created_at, version_id
        case _:
            raise InvalidRequest(cursors.INVALID_TEXT)


def _list_name(skill: Skill) -> str:
    return f"skill_version:{skill.id}"


async def _skill(request: web.Request) -> Skill:
    return await _store(request).get(caller_of(request).workspace_id, _skill_id(request))


def _store(request: web.Request) -> SkillStore:
    return context_of(request).file_services.skills


def _skill_id(request: web.Request) -> SkillId:
    return SkillId(id_in_path(request, "skill_id", SKILL))


def _calls_versions_by_number(request: web.Request) -> bool:
    """Whether the client is one of the time when versions were called by the microsecond of their making."""
    return NUMBERED_VERSIONS_BETA in beta.parse(request.headers.getall("anthropic-beta", []))


def _shown(request: web.Request, skill: Skill, version: SkillVersion) -> SkillVersionMetadata:
    if _calls_versions_by_number(request):
        return numbered_version_metadata(skill, version)
    return version_metadata(skill, version)


def _version_id(request: web.Request, *, latest_allowed: bool) -> str:
    text = request.match_info["version"]
    if (text == LATEST and latest_allowed) or ids.is_well_formed("skillver_", text):
        return text
    if _calls_versions_by_number(request) and _NUMBER.fullmatch(text):
        return text
    raise InvalidRequest("Invalid skill version ID.")
