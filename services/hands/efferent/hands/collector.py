"""What a session's tools have made that is worth keeping: new outputs, and changes in its memory stores."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from efferent.hands import trees
from efferent.hands.folder import SessionFolder
from efferent.hands.placement import RecordedStore, recorded, settle, settled
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
    changes: list[MemoryChange] = []
    left = ANSWER_BYTES_MAX
    for store in recorded(folder).stores:
        if store.is_read_only:
            continue
        for change in _changes(folder, store):
            left -= len(change.content or b"")
            if left < 0:
                return Collected(outputs, tuple(changes), is_all=False)
            changes.append(change)
    return Collected(outputs, tuple(changes))


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


def _changes(folder: SessionFolder, store: RecordedStore) -> list[MemoryChange]:
    root = folder.part("memory") / store.slug
    changes: list[MemoryChange] = []
    seen: set[str] = set()
    for found in trees.walk(root, MEMORIES_MAX):
        seen.add(found.path)
        placed = store.memories.get(found.path)
        if (placed is not None and placed.stamp == found.stamp) or found.size_bytes > MEMORY_BYTES_MAX:
            continue
        content = _content(folder, store.slug, found.path)
        if content is None:
            continue
        base = placed.sha256 if placed is not None else ""
        if hashlib.sha256(content).hexdigest() != base:
            changes.append(MemoryChange(store.slug, found.path, base, content))
    for path, placed in store.memories.items():
        if path not in seen and trees.is_gone(root, path):
            changes.append(MemoryChange(store.slug, path, placed.sha256, None))
    return changes


def _content(folder: SessionFolder, slug: str, path: str) -> bytes | None:
    """A memory's text; None when it is none, or grew too large."""
    try:
        with trees.opened(folder.part("memory") / slug, path) as (descriptor, _):
            data = trees.read_all(descriptor, MEMORY_BYTES_MAX + 1)
        data.decode()
    except (trees.NotThere, UnicodeDecodeError):
        return None
    return data if len(data) <= MEMORY_BYTES_MAX else None
