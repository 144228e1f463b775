"""Placements and collected things as they travel: checked when they come, since they become paths on the host."""

import re
from typing import Final

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.hands.collector import Collected, MemoryChange
from efferent.hands.placement import (
    MEMORY,
    UPLOADS,
    PlacedFile,
    PlacedMemory,
    PlacedSkill,
    PlacedStore,
    Placement,
)

FILES_MAX: Final = 500
SKILLS_MAX: Final = 500
STORES_MAX: Final = 8
MEMORIES_MAX: Final = 2_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,299}")
_NO_SEGMENTS: Final = frozenset({"", ".", ".."})


class Malformed(ValueError):
    """The request cannot be carried out as it is."""


def wanted(request: wire.PrepareRequest) -> Placement:
    """What is to be placed. Raises Malformed."""
    _limit("files", len(request.files), FILES_MAX)
    _limit("skills", len(request.skills), SKILLS_MAX)
    _limit("stores", len(request.stores), STORES_MAX)
    return Placement(
        name=request.placement,
        files=tuple(
            PlacedFile(_below(f"{UPLOADS}/", file.path), file.blob_key, file.size_bytes) for file in request.files
        ),
        skills=tuple(PlacedSkill(_name(skill.name), skill.blob_key) for skill in request.skills),
        stores=tuple(_store(store) for store in request.stores),
    )


def collected(found: Collected) -> wire.CollectResponse:
    """The answer."""
    return wire.CollectResponse(
        outputs=[wire.Output(path=it.path, stamp=it.stamp, size_bytes=it.size_bytes) for it in found.outputs],
        memories=[_change(change) for change in found.memories],
        more=not found.is_all,
    )


def _store(store: wire.PlacedStore) -> PlacedStore:
    _limit("memories", len(store.memories), MEMORIES_MAX)
    memories = (
        PlacedMemory(_below("/", memory.path), memory.blob_key, memory.content_sha256) for memory in store.memories
    )
    return PlacedStore(_name(_below(f"{MEMORY}/", store.path)), store.read_only, tuple(memories))


def _change(change: MemoryChange) -> wire.MemoryChange:
    answer = wire.MemoryChange(
        store_path=f"{MEMORY}/{change.slug}", path=f"/{change.path}", base_sha256=change.base_sha256
    )
    if change.content is None:
        answer.deleted = True
    else:
        answer.written = change.content
    return answer


def _below(prefix: str, path: str) -> str:
    inner = path.removeprefix(prefix)
    if not path.startswith(prefix) or "\0" in inner or not _NO_SEGMENTS.isdisjoint(inner.split("/")):
        raise Malformed(f"{path[:200]!r} is not a path below {prefix}")
    return inner


def _name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise Malformed(f"{name[:100]!r} is not a name")
    return name


def _limit(what: str, count: int, most: int) -> None:
    if count > most:
        raise Malformed(f"{count} {what}; at most {most} can be placed")
