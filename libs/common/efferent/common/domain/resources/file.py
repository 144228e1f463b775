"""Files as they are stored and answered. Their bytes are a blob."""

from typing import Final, Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import FileId, SessionId
from efferent.common.domain.timestamp import Timestamp

_CONTENT: Final = "content"


class FileScope(Shape):
    """The session that a file belongs to, and goes with."""

    type: Literal["session"] = "session"
    id: SessionId


class FileMetadata(Shape):
    """The File resource as clients get it."""

    type: Literal["file"] = "file"
    id: FileId
    filename: str
    mime_type: str
    size_bytes: int
    created_at: Timestamp
    downloadable: bool
    """Whether clients may have its bytes: only what an agent made."""
    expires_at: Timestamp | None = None
    """None: never."""
    scope: FileScope | None = None


class File(FileMetadata):
    """A file as it is stored."""

    sha256: str
    is_copy: bool = False
    """Whether it is a session's copy of an uploaded file."""

    @property
    def archived_at(self) -> None:
        """Files are never archived."""

    @property
    def session_id(self) -> SessionId | None:
        """The session that it belongs to."""
        return self.scope.id if self.scope is not None else None

    @property
    def blob_key(self) -> str:
        """Where its bytes are."""
        return content_key(self.id, self.session_id)

    @property
    def blob_prefix(self) -> str:
        """Everything of the file that is a blob."""
        return self.blob_key.removesuffix(_CONTENT)


def content_key(file_id: FileId, session_id: SessionId | None) -> str:
    """Where the bytes of a file are: those of a session's files lie with everything else of the session."""
    folder = "" if session_id is None else session_files(session_id)
    return f"{folder}{file_id}/{_CONTENT}"


def session_files(session_id: SessionId) -> str:
    """Where the bytes of all files of a session are: a prefix, followed by ids of files."""
    return f"{session_id}/files/"


def metadata(file: File) -> FileMetadata:
    """What clients get of a file."""
    return FileMetadata(**{name: getattr(file, name) for name in FileMetadata.model_fields})
