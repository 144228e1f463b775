"""Memory stores, their memories and the versions of those, as they are stored and as they are answered.

What a memory says is never part of a stored shape: each version's content is a blob of its own.
"""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import ApiKeyId, MemoryId, MemoryStoreId, MemoryVersionId, SessionId
from efferent.common.domain.timestamp import Timestamp

Operation = Literal["created", "modified", "deleted"]


class MemoryStore(Shape):
    """The MemoryStore resource."""

    type: Literal["memory_store"] = "memory_store"
    id: MemoryStoreId
    name: str
    description: str = ""
    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None


class SessionActor(Shape):
    """The agent of a session."""

    type: Literal["session_actor"] = "session_actor"
    session_id: SessionId


class ApiActor(Shape):
    """A client with an API key."""

    type: Literal["api_actor"] = "api_actor"
    api_key_id: ApiKeyId


class UserActor(Shape):
    """A person."""

    type: Literal["user_actor"] = "user_actor"
    user_id: str


class ServiceAccountActor(Shape):
    """A service account."""

    type: Literal["service_account_actor"] = "service_account_actor"
    service_account_id: str


MemoryActor = Annotated[SessionActor | ApiActor | UserActor | ServiceAccountActor, Field(discriminator="type")]


class Memory(Shape):
    """The Memory resource; the content only where a request wants it."""

    type: Literal["memory"] = "memory"
    id: MemoryId
    memory_store_id: MemoryStoreId
    path: str
    content: str | None = None
    content_sha256: str
    content_size_bytes: int
    memory_version_id: MemoryVersionId
    created_at: Timestamp
    updated_at: Timestamp


class StoredMemory(Shape):
    """A memory as records have it: with who wrote its newest version."""

    id: MemoryId
    memory_store_id: MemoryStoreId
    path: str
    """Empty only in the record of a deletion whose version was redacted."""
    content_sha256: str
    content_size_bytes: int
    memory_version_id: MemoryVersionId
    written_by: MemoryActor | None = None
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def archived_at(self) -> None:
        """Memories are not archived, only their stores are."""

    def shown(self, content: str | None = None) -> Memory:
        """What clients get."""
        stored = {name: getattr(self, name) for name in Memory.model_fields if name not in ("type", "content")}
        return Memory(**stored, content=content)


class MemoryPrefix(Shape):
    """Stands for everything below a folder in a list."""

    type: Literal["memory_prefix"] = "memory_prefix"
    path: str


class MemoryVersion(Shape):
    """The MemoryVersion resource: one change of a memory."""

    type: Literal["memory_version"] = "memory_version"
    id: MemoryVersionId
    memory_id: MemoryId
    memory_store_id: MemoryStoreId
    operation: Operation
    path: str | None = None
    content: str | None = None
    content_sha256: str | None = None
    content_size_bytes: int | None = None
    created_by: MemoryActor | None = Field(default=None, exclude_if=lambda actor: actor is None)
    created_at: Timestamp
    redacted_at: Timestamp | None = None
    redacted_by: MemoryActor | None = Field(default=None, exclude_if=lambda actor: actor is None)

    @property
    def archived_at(self) -> None:
        """Versions are not archived."""

    @property
    def has_content(self) -> bool:
        """Whether there is a blob with what it said."""
        return self.operation != "deleted" and self.redacted_at is None

    def redacted(self, at: Timestamp, by: MemoryActor) -> "MemoryVersion":
        """Without everything that the memory said at the time."""
        gone = {"path": None, "content": None, "content_sha256": None, "content_size_bytes": None}
        return self.model_copy(update={**gone, "redacted_at": at, "redacted_by": by})
