"""What a session's tools have made that is worth keeping: new outputs, and changes in its memory stores."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from efferent.hands import trees
from efferent.hands.folder import SessionFolder
from efferent.hands.placement import RecordedStore, Told, recorded, settle, settled, tell, told
from efferent.hands.placer import MEMORY_BYTES_MAX

OUTPUTS_MAX: Final = 1_000
"""Output files of a session that are looked at."""
OUTPUT_BYTES_MAX: Final = 500 * 1024 * 1024
MEMORIES_MAX: Final = 2_000
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of memory content in one answer."""
_CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A memory that the agent wrote or deleted."""

    slug: str
    path: str
    base_sha256: str
    """What was placed there; empty when nothing was."""
    content: bytes | None
    """None: deleted."""
    stamp: str = ""
    """Of the file that was read."""

    @property
    def told(self) -> Told:
        """What a store learns from it."""
        return Told("" if self.content is None else hashlib.sha256(self.content).hexdigest(), self.stamp)


@dataclass(frozen=True, slots=True)
class Collected:
    """What is new."""

    outputs: tuple[trees.Found, ...] = ()
    memories: tuple[MemoryChange, ...] = ()
    is_all: bool = True


def collect(folder: SessionFolder) -> Collected:
    """Look for what is new. Raises OSError."""
    if not folder.path.is_dir():
        return Collected()
    known = settled(folder)
    outputs = tuple(
        found
        for found in trees.walk(folder.part("outputs"), OUTPUTS_MAX)
        if known.get(found.path) != found.stamp and found.size_bytes <= OUTPUT_BYTES_MAX
    )
    changes, is_all = _memory_changes(folder)
    if changes:
        memories = told(folder)
        for change in changes:
            memories.setdefault(change.slug, {})[change.path] = change.told
        tell(folder, memories)
    return Collected(outputs, tuple(changes), is_all)


def keep(folder: SessionFolder, outputs: dict[str, str]) -> None:
    """These outputs, by path and stamp, are kept elsewhere now. Raises OSError."""
    if not folder.path.is_dir():
        return
    there = {found.path for found in trees.walk(folder.part("outputs"), OUTPUTS_MAX)}
    settle(folder, {path: stamp for path, stamp in {**settled(folder), **outputs}.items() if path in there})


def output_chunks(folder: SessionFolder, path: str, stamp: str) -> Iterator[bytes]:
    """The bytes of an output as it was collected. Raises NotThere when it is another one now, or changes meanwhile."""
    with trees.opened(folder.part("outputs"), path) as (descriptor, found):
        if found.stamp != stamp:
            raise trees.NotThere(path)
        left = found.size_bytes
        while left > 0:
            chunk = os.read(descriptor, min(left, _CHUNK_BYTES))
            if not chunk:
                raise trees.NotThere(path)
            left -= len(chunk)
            yield chunk


def _memory_changes(folder: SessionFolder) -> tuple[list[MemoryChange], bool]:
    """As many changes as one answer has room for, and whether they are all."""
    changes: list[MemoryChange] = []
    left = ANSWER_BYTES_MAX
    for store in recorded(folder).stores:
        if store.is_read_only:
            continue
        for change in _changes(folder, store):
            left -= len(change.content or b"")
            if left < 0:
                return changes, False
            changes.append(change)
    return changes, True


def _changes(folder: SessionFolder, store: RecordedStore) -> list[MemoryChange]:
    root = folder.part("memory") / store.slug
    changes: list[MemoryChange] = []
    seen: set[str] = set()
    for found in trees.walk(root, MEMORIES_MAX):
        seen.add(found.path)
        placed = store.memories.get(found.path)
        if (placed is not None and placed.stamp == found.stamp) or found.size_bytes > MEMORY_BYTES_MAX:
            continue
        read = _content(folder, store.slug, found.path)
        if read is None:
            continue
        content, stamp = read
        base = placed.sha256 if placed is not None else ""
        if hashlib.sha256(content).hexdigest() != base:
            changes.append(MemoryChange(store.slug, found.path, base, content, stamp))
    for path, placed in store.memories.items():
        if path not in seen and trees.is_gone(root, path):
            changes.append(MemoryChange(store.slug, path, placed.sha256, None))
    return changes


def _content(folder: SessionFolder, slug: str, path: str) -> tuple[bytes, str] | None:
    """A memory's text and the stamp of its file; None when it is none, or grew too large."""
    try:
        with trees.opened(folder.part("memory") / slug, path) as (descriptor, found):
            data = trees.read_all(descriptor, MEMORY_BYTES_MAX + 1)
        data.decode()
    except (trees.NotThere, UnicodeDecodeError):
        return None
    return (data, found.stamp) if len(data) <= MEMORY_BYTES_MAX else None
