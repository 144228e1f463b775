"""What is placed in a session's sandbox besides its own files, and the record of it in the session's folder.

The record is written after the files: when it names a placement, all of it is there.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from efferent.hands.folder import SessionFolder, fsync_folder

UPLOADS: Final = "/mnt/session/uploads"
SKILLS: Final = "/workspace/skills"
MEMORY: Final = "/mnt/memory"


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file below the uploads folder."""

    path: str
    """Below the uploads folder, without a slash at the start."""
    blob_key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PlacedSkill:
    """A skill's archive."""

    name: str
    blob_key: str


@dataclass(frozen=True, slots=True)
class PlacedMemory:
    """One memory of a store."""

    path: str
    """Within the store, without the slash at the start."""
    blob_key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PlacedStore:
    """A memory store."""

    slug: str
    is_read_only: bool
    memories: tuple[PlacedMemory, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Everything that a session is to find in its sandbox."""

    name: str
    files: tuple[PlacedFile, ...] = ()
    skills: tuple[PlacedSkill, ...] = ()
    stores: tuple[PlacedStore, ...] = ()


@dataclass(frozen=True)
class RecordedMemory:
    """A memory as it was placed."""

    sha256: str
    stamp: str


@dataclass(frozen=True)
class RecordedStore:
    """A store as it was placed."""

    slug: str
    is_read_only: bool
    memories: dict[str, RecordedMemory] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """What is there."""

    name: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """Blob keys by path."""
    skills: dict[str, str] = field(default_factory=dict)
    """Blob keys by name."""
    stores: tuple[RecordedStore, ...] = ()

    def store(self, slug: str) -> RecordedStore | None:
        """A store by its slug."""
        return next((store for store in self.stores if store.slug == slug), None)


@dataclass(frozen=True)
class Told:
    """A memory as it was when it was last collected as changed."""

    sha256: str
    """Empty: it was deleted."""
    stamp: str


ToldMemories = dict[str, dict[str, Told]]
"""By store and path: what the stores may have learned from here, and so is no change of somebody else."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A part of the session's folder that is mounted because something was placed there."""

    place: str
    part: str
    is_writable: bool


_RECORDED: Final[TypeAdapter[Recorded]] = TypeAdapter(Recorded)
_TOLD: Final[TypeAdapter[ToldMemories]] = TypeAdapter(ToldMemories)
_STAMPS: Final[TypeAdapter[dict[str, str]]] = TypeAdapter(dict[str, str])


def recorded(folder: SessionFolder) -> Recorded:
    """What is placed in this folder. Raises OSError."""
    try:
        return _RECORDED.validate_json(_record_path(folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Recorded()


def record(folder: SessionFolder, placed: Recorded) -> None:
    """Remember what is placed. Durable when it returns. Raises OSError."""
    _write(_record_path(folder), _RECORDED.dump_json(placed))


def told(folder: SessionFolder) -> ToldMemories:
    """What was collected of the memory stores. Raises OSError."""
    try:
        return _TOLD.validate_json(_told_path(folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def tell(folder: SessionFolder, memories: ToldMemories) -> None:
    """Remember what was collected of the memory stores. Durable when it returns. Raises OSError."""
    _write(_told_path(folder), _TOLD.dump_json(memories))


def settled(folder: SessionFolder) -> dict[str, str]:
    """Stamps of the outputs that are kept elsewhere, by path. Raises OSError."""
    try:
        return _STAMPS.validate_json(_settled_path(folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def settle(folder: SessionFolder, stamps: dict[str, str]) -> None:
    """Remember which outputs are kept elsewhere. Durable when it returns. Raises OSError."""
    _write(_settled_path(folder), _STAMPS.dump_json(stamps))


def mounts(folder: SessionFolder) -> tuple[Mount, ...]:
    """What a sandbox on this folder needs besides the places that all have. Raises OSError."""
    placed = recorded(folder)
    skills = (Mount(SKILLS, "skills", is_writable=False),) if placed.skills else ()
    stores = (
        Mount(f"{MEMORY}/{store.slug}", f"memory/{store.slug}", is_writable=not store.is_read_only)
        for store in placed.stores
    )
    return (*skills, *stores)


def _record_path(folder: SessionFolder) -> Path:
    return folder.path / "placement.json"


def _told_path(folder: SessionFolder) -> Path:
    return folder.path / "memories.json"


def _settled_path(folder: SessionFolder) -> Path:
    return folder.path / "outputs.json"


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)
    fsync_folder(path.parent)
