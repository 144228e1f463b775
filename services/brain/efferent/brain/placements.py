"""What a session is to find in its sandbox, and what is found there afterwards: shapes, and one pure function."""

import hashlib
from dataclasses import dataclass

from efferent.common.domain.resources.session_resource import FileResource
from efferent.common.domain.state import SessionState


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file that can only be read."""

    path: str
    blob_key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SkillPlace:
    """A skill's folder."""

    name: str
    blob_key: str


@dataclass(frozen=True, slots=True)
class MemoryPlace:
    """One memory of a store."""

    path: str
    """Within the store; begins with a slash."""
    blob_key: str
    content_sha256: str


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A memory store's folder."""

    path: str
    is_read_only: bool
    memories: tuple[MemoryPlace, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Everything of a session; ``name`` changes whenever any of it does, and is empty when there is nothing."""

    name: str = ""
    files: tuple[FilePlace, ...] = ()
    skills: tuple[SkillPlace, ...] = ()
    stores: tuple[StorePlace, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """A file in the outputs folder. ``stamp`` changes whenever the file does."""

    path: str
    stamp: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A memory that the agent wrote or deleted."""

    store_path: str
    path: str
    base_sha256: str | None
    """What was there before; None when nothing was."""
    content: bytes | None
    """None: deleted."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What the tools of a session have made."""

    outputs: tuple[Output, ...] = ()
    memories: tuple[MemoryChange, ...] = ()
    is_all: bool = True


def placement_of(state: SessionState, stores: tuple[StorePlace, ...]) -> Placement:
    """The placement of a session whose memory stores hold this."""
    files = tuple(
        FilePlace(held.resource.mount_path, held.content.blob_key, held.content.size_bytes)
        for held in state.resources
        if isinstance(held.resource, FileResource) and held.content is not None
    )
    skills = tuple(SkillPlace(skill.name, skill.content.blob_key) for skill in state.skills)
    if not files and not skills and not stores:
        return Placement()
    digest = hashlib.sha256(repr((files, skills, stores)).encode()).hexdigest()[:32]
    return Placement(digest, files, skills, stores)
