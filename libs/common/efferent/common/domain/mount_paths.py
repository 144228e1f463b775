"""Where a session's resources are placed in its sandbox. Pure: text in, text or a refusal out."""

import posixpath
import re
from collections.abc import Iterable
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

UPLOADS: Final = "/mnt/session/uploads"
WORKSPACE: Final = "/workspace"
SKILLS: Final = "/workspace/skills"
MEMORY: Final = "/mnt/memory"
PATH_BYTES_MAX: Final = 1_024
SEGMENT_BYTES_MAX: Final = 255
"""Of one name in a path: what file systems take."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_REPOSITORY: Final = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]{0,38})/([A-Za-z0-9._-]{1,100})")
_NO_SLUG: Final = re.compile(r"[^a-z0-9]+")


def upload_path(mount_path: str | None, file_id: str) -> str:
    """The place of a file: below the uploads folder, whatever way the client wrote it. Raises InvalidRequest."""
    if mount_path is None:
        return f"{UPLOADS}/{file_id}"
    noun = "Invalid file resource: mount path"
    _check_text(noun, mount_path)
    inner = mount_path
    for prefix in (f"{UPLOADS}/", "/uploads/"):
        if mount_path.startswith(prefix):
            inner = mount_path.removeprefix(prefix)
            break
    relative = posixpath.normpath(inner.lstrip("/")) if inner.strip("/") else "."
    if relative == ".." or relative.startswith("../"):
        raise InvalidRequest(f'{noun} "{mount_path}" escapes /uploads/')
    if relative == "." or mount_path.endswith("/") or mount_path in (UPLOADS, "/uploads"):
        raise InvalidRequest(f'{noun} "{mount_path}" does not name a file')
    return f"{UPLOADS}/{relative}"


def check_free_upload(path: str, taken: Iterable[str]) -> None:
    """Raise InvalidRequest when a file at this place would lie at, above or below another one."""
    if any(overlaps(path, other) for other in taken):
        shown = f"/uploads{path.removeprefix(UPLOADS)}"
        raise InvalidRequest(f"Invalid file resource: `mount_path` overlaps another resource: {shown}")


def repository_name(url: str) -> str:
    """The name of a repository by its address. Raises InvalidRequest for anything but a plain GitHub address."""
    found = _REPOSITORY.fullmatch(url)
    if found is None or found[2].endswith(".git") or found[2] in (".", ".."):
        raise InvalidRequest(
            "Invalid github_repository resource: `url` must be https://github.com/<owner>/<repo> without .git"
        )
    return found[2]


def repository_path(mount_path: str | None, url: str, taken: Iterable[str]) -> str:
    """The place of a repository: below the workspace, and free. Raises InvalidRequest."""
    noun = "Invalid github_repository resource: mount path"
    name = repository_name(url)
    wanted = f"{WORKSPACE}/{name}" if mount_path is None else mount_path
    _check_text(noun, wanted)
    path = posixpath.normpath(wanted)
    if not path.startswith(f"{WORKSPACE}/"):
        raise InvalidRequest(f'{noun} "{wanted}" must be below {WORKSPACE}/')
    if any(overlaps(path, other) for other in taken):
        raise InvalidRequest(f"Invalid github_repository resource: `mount_path` overlaps another resource: {path}")
    return path


def memory_path(name: str, taken: Iterable[str]) -> str:
    """The place of a memory store: named after it, numbered when an earlier store of the session has the name."""
    slug = _NO_SLUG.sub("-", name.lower()).strip("-") or "memory"
    used, number = set(taken), 1
    path = f"{MEMORY}/{slug}"
    while path in used:
        number += 1
        path = f"{MEMORY}/{slug}-{number}"
    return path


def overlaps(one: str, other: str) -> bool:
    """Whether two places are the same or one lies in the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _check_text(noun: str, path: str) -> None:
    if not path:
        raise InvalidRequest(f"{noun} must not be empty")
    if _CONTROL.search(path):
        raise InvalidRequest(f"{noun} must not hold control characters")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise InvalidRequest(f"{noun} must be at most {PATH_BYTES_MAX} bytes long")
    if any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in path.split("/")):
        raise InvalidRequest(f"{noun}: each part must be at most {SEGMENT_BYTES_MAX} bytes long")
