"""What is attached to a session: files, repositories and memory stores, as the API answers them."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import SessionResourceId
from efferent.common.domain.timestamp import Timestamp

MemoryAccess = Literal["read_write", "read_only"]


class FileResource(Shape):
    """A file that the sandbox can read; ``file_id`` is the session's own copy."""

    type: Literal["file"] = "file"
    id: SessionResourceId
    file_id: str
    mount_path: str
    created_at: Timestamp
    updated_at: Timestamp


class BranchCheckout(Shape):
    """The newest commit of a branch."""

    type: Literal["branch"] = "branch"
    name: str


class CommitCheckout(Shape):
    """One commit."""

    type: Literal["commit"] = "commit"
    sha: str


Checkout = Annotated[BranchCheckout | CommitCheckout, Field(discriminator="type")]


class GithubRepositoryResource(Shape):
    """A repository in the sandbox. Its token is never shown."""

    type: Literal["github_repository"] = "github_repository"
    id: SessionResourceId
    url: str
    mount_path: str
    checkout: Checkout | None = None
    created_at: Timestamp
    updated_at: Timestamp


class MemoryStoreResource(Shape):
    """A memory store as it was when the session was created. It has no id of its own."""

    type: Literal["memory_store"] = "memory_store"
    memory_store_id: str
    access: MemoryAccess = "read_write"
    instructions: str | None = None
    name: str
    description: str = ""
    mount_path: str


SessionResource = Annotated[FileResource | GithubRepositoryResource | MemoryStoreResource, Field(discriminator="type")]


def id_of(resource: FileResource | GithubRepositoryResource | MemoryStoreResource) -> SessionResourceId | None:
    """A resource's id; memory stores have none."""
    return None if isinstance(resource, MemoryStoreResource) else resource.id


class StoredContent(Shape):
    """Where the bytes of a file are; never shown."""

    blob_key: str
    size_bytes: int


class PinnedSkill(Shape):
    """A skill at the version that the session uses, with what the model is told of it."""

    skill_id: str
    version: str
    name: str
    description: str
    content: StoredContent
