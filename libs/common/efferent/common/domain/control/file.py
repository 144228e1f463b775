"""Files: how they may be called, when they expire, and what can happen to them. They are never changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from efferent.common.domain.control.aggregate import Change, ControlRecord, Kind
from efferent.common.domain.ids import FileId, SessionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.file import File, FileScope, metadata
from efferent.common.domain.timestamp import Timestamp, from_datetime, to_datetime

FILENAME_LENGTH_MAX: Final = 255
EXPIRES_IN_S_MIN: Final = 3_600
EXPIRES_IN_S_MAX: Final = 7_776_000
MIME_TYPE_LENGTH_MAX: Final = 255
MIME_TYPE_DEFAULT: Final = "application/octet-stream"
STORED_BYTES: Final = "stored_bytes"
"""Facet: how much of the workspace's storage a file takes."""

_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]')
_MIME_TYPE: Final = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;\s*[A-Za-z0-9!#$&^_.+-]+=([A-Za-z0-9!#$&^_.+-]+|\"[^\"\\\x00-\x1f]*\"))*"
)


def _facets(file: File) -> Mapping[str, str]:
    return {STORED_BYTES: "0" if file.is_copy else str(file.size_bytes)}


FILE: Final[Kind[File]] = Kind(
    name="file",
    prefix="file_",
    record=ControlRecord[File],
    noun="file",
    deeds=("created", "deleted"),
    parent=lambda file: file.session_id,
    facets=_facets,
    show=metadata,
    says_shape=True,
)


@dataclass(frozen=True, slots=True)
class CreateFile:
    """Make a file whose bytes are stored already."""

    id: FileId
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    expires_in_s: int | None = None
    session_id: SessionId | None = None
    """The session that it belongs to; None: an upload that stands alone."""
    is_copy: bool = False

    @property
    def downloadable(self) -> bool:
        """What an agent made may be downloaded; what a client uploaded, and copies of it, may not."""
        return self.session_id is not None and not self.is_copy


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Remove the file."""


@dataclass(frozen=True, slots=True)
class ExpireFile:
    """Remove the file if its time is over."""


FileCommand = CreateFile | DeleteFile | ExpireFile


def decide(current: File | None, command: FileCommand, now: Timestamp) -> Change[File] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    match command:
        case CreateFile():
            if current is None:
                return Change("created", _create(command, now))
            if current.sha256 == command.sha256 and current.session_id == command.session_id:
                return None  # the same copy was made before: its answer was lost
            raise Conflict(f"file {command.id} exists already")
        case DeleteFile():
            return Change("deleted", existing(current, now))
        case ExpireFile():
            return Change("deleted", current) if current is not None and has_expired(current, now) else None


def existing(current: File | None, now: Timestamp) -> File:
    """The file when it is there and has not expired. Raises NotFound."""
    if current is None:
        raise not_found()
    if has_expired(current, now):
        raise expired(current.id)
    return current


def has_expired(file: File, now: Timestamp) -> bool:
    """Whether its time is over."""
    return file.expires_at is not None and file.expires_at <= now


def not_found() -> NotFound:
    """The refusal when there is no such file."""
    return NotFound("File not found.")


def expired(file_id: str) -> NotFound:
    """The refusal when the file was there once, and its time is over."""
    return NotFound(f"File '{file_id}' has expired.", code="file_expired")


def not_downloadable(file_id: str) -> InvalidRequest:
    """The refusal when a client asks for the bytes of what was uploaded."""
    return InvalidRequest(f"File '{file_id}' is not downloadable", code="file_not_downloadable")


def checked_filename(given: str | None, *, extension: str) -> str:
    """The last path component of what a client calls its file; ``unnamed`` with the extension when there is none.

    Raises InvalidRequest.
    """
    name = re.split(r"[/\\]", given or "")[-1]
    if not name:
        return f"unnamed{extension}"
    if len(name) > FILENAME_LENGTH_MAX:
        raise InvalidRequest(f"file: the filename must be at most {FILENAME_LENGTH_MAX} characters long")
    if name in (".", ".."):
        raise InvalidRequest(f'file: the filename must not be "{name}"')
    if _FORBIDDEN.search(name) is not None:
        raise InvalidRequest('file: the filename must not contain < > : " | ? * or control characters')
    return name


def usable_filename(path: str) -> str:
    """What a file is called that an agent made: its last path component, without what a filename may not have."""
    name = _FORBIDDEN.sub("_", path.rpartition("/")[2])[:FILENAME_LENGTH_MAX]
    return name if name not in ("", ".", "..") else "unnamed"


def checked_expiry(seconds: int) -> int:
    """How long a file is kept. Raises InvalidRequest."""
    if not EXPIRES_IN_S_MIN <= seconds <= EXPIRES_IN_S_MAX:
        raise InvalidRequest(f"expires_in_seconds: must be between {EXPIRES_IN_S_MIN} and {EXPIRES_IN_S_MAX}")
    return seconds


def usable_mime_type(given: str | None) -> str | None:
    """A type as a client sent it when it says something; None when it must be guessed."""
    if given is None or len(given) > MIME_TYPE_LENGTH_MAX or _MIME_TYPE.fullmatch(given) is None:
        return None
    return None if given.partition(";")[0].strip().lower() == MIME_TYPE_DEFAULT else given


def _create(command: CreateFile, now: Timestamp) -> File:
    expires_at = None
    if command.expires_in_s is not None:
        kept = timedelta(seconds=checked_expiry(command.expires_in_s))
        expires_at = from_datetime(to_datetime(now) + kept)
    return File(
        id=command.id,
        filename=command.filename,
        mime_type=command.mime_type,
        size_bytes=command.size_bytes,
        created_at=now,
        downloadable=command.downloadable,
        expires_at=expires_at,
        scope=FileScope(id=command.session_id) if command.session_id is not None else None,
        sha256=command.sha256,
        is_copy=command.is_copy,
    )
