"""Memory stores: commands, and what they decide."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import MemoryStoreId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.memory import MemoryStore
from efferent.common.domain.timestamp import Timestamp

NAME_LENGTH_MAX: Final = 255
DESCRIPTION_LENGTH_MAX: Final = 1_024

MEMORY_STORE: Final[Kind[MemoryStore]] = Kind(
    name="memory_store",
    prefix="memstore_",
    record=ControlRecord[MemoryStore],
    noun="memory store",
    within="itself",
)


@dataclass(frozen=True, slots=True)
class CreateMemoryStore:
    """Make a memory store."""

    id: MemoryStoreId
    name: str
    description: str = ""
    metadata: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateMemoryStore:
    """Change what is mentioned; of the metadata null removes a key."""

    name: Given[str] = UNSET
    description: Given[str] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArchiveMemoryStore:
    """Make the store and all that is in it read-only."""


@dataclass(frozen=True, slots=True)
class DeleteMemoryStore:
    """Remove the store; nothing in it can be reached without it."""


MemoryStoreCommand = CreateMemoryStore | UpdateMemoryStore | ArchiveMemoryStore | DeleteMemoryStore


def not_found() -> NotFound:
    """The refusal when there is no such store."""
    return NotFound("Memory store not found.")


def check_active(store: MemoryStore) -> None:
    """Raises InvalidRequest when the store is archived."""
    if store.archived_at is not None:
        raise is_archived()


def is_archived() -> InvalidRequest:
    """The refusal of changes in an archived store."""
    return InvalidRequest("Memory store is archived.")


def decide(current: MemoryStore | None, command: MemoryStoreCommand, now: Timestamp) -> Change[MemoryStore] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    if isinstance(command, CreateMemoryStore):
        if current is not None:
            raise Conflict(f"memory store {command.id} exists already")
        return Change("created", _create(command, now))
    if current is None:
        raise not_found()
    now = max(now, current.updated_at)
    match command:
        case UpdateMemoryStore():
            check_active(current)
            changed = _updated(current, command)
            return None if changed == current else Change("updated", changed.model_copy(update={"updated_at": now}))
        case ArchiveMemoryStore():
            if current.archived_at is not None:
                return None
            return Change("archived", current.model_copy(update={"archived_at": now, "updated_at": now}))
        case DeleteMemoryStore():
            return Change("deleted", current)


def _create(command: CreateMemoryStore, now: Timestamp) -> MemoryStore:
    return MemoryStore(
        id=command.id,
        name=_checked_name(command.name),
        description=command.description,
        metadata=merged({}, command.metadata),
        created_at=now,
        updated_at=now,
    )


def _updated(store: MemoryStore, command: UpdateMemoryStore) -> MemoryStore:
    changes: dict[str, object] = {"metadata": merged(store.metadata, command.metadata)}
    if command.name is not UNSET:
        changes["name"] = _checked_name(command.name)
    if command.description is not UNSET:
        changes["description"] = command.description
    return store.model_copy(update=changes)


def _checked_name(name: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidRequest("name: must not contain control characters")
    return name
