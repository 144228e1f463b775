"""Memories and their versions: commands, and what they decide. They live in their store's set, which holds their rules.

Every record of a memory is one version of it. A version gets a record of its own only when it is redacted: then the
memory's record of that version is erased from the log.
"""

from dataclasses import dataclass
from typing import Final

from efferent.common.domain.control.aggregate import Change, ControlRecord, Derived, Kind, SetFacts
from efferent.common.domain.control.memory_paths import checked_path
from efferent.common.domain.control.memory_store import is_archived
from efferent.common.domain.control.memory_store import not_found as store_not_found
from efferent.common.domain.ids import MemoryId, MemoryStoreId, MemoryVersionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.memory import (
    ApiActor,
    MemoryActor,
    MemoryVersion,
    Operation,
    ServiceAccountActor,
    SessionActor,
    StoredMemory,
    UserActor,
)
from efferent.common.domain.timestamp import Timestamp

CONTENT_BYTES_MAX: Final = 102_400
MEMORIES_MAX: Final = 2_000
"""Memories of one store."""

_OPERATIONS: Final[dict[str, Operation]] = {
    "memory.created": "created",
    "memory.updated": "modified",
    "memory.deleted": "deleted",
}


def _version_of(record: ControlRecord[StoredMemory]) -> Derived | None:
    memory, operation = record.data, _OPERATIONS[record.type]
    if not memory.path:
        return None
    is_there = operation != "deleted"
    version = MemoryVersion(
        id=memory.memory_version_id,
        memory_id=memory.id,
        memory_store_id=memory.memory_store_id,
        operation=operation,
        path=memory.path,
        content_sha256=memory.content_sha256 if is_there else None,
        content_size_bytes=memory.content_size_bytes if is_there else None,
        created_by=memory.written_by,
        created_at=memory.updated_at,
    )
    return Derived(MEMORY_VERSION, version)


def _admit(memory: StoredMemory, facts: SetFacts) -> None:
    if facts.parent == "missing":
        raise store_not_found()
    if facts.parent == "archived":
        raise is_archived()
    if facts.holder is not None:
        raise Conflict(
            f"A memory already exists at path {memory.path}: {facts.holder}",
            type="memory_path_conflict_error",
            details={"conflicting_memory_id": facts.holder},
        )
    if facts.members >= MEMORIES_MAX:
        raise InvalidRequest(f"A memory store can have at most {MEMORIES_MAX} memories.")


def _facets(version: MemoryVersion) -> dict[str, str]:
    facets: dict[str, str] = {"memory_id": version.memory_id, "operation": version.operation}
    match version.created_by:
        case SessionActor(session_id=session_id):
            facets["session_id"] = session_id
        case ApiActor(api_key_id=key_id):
            facets["api_key_id"] = key_id
        case ServiceAccountActor(service_account_id=account_id):
            facets["service_account_id"] = account_id
        case UserActor() | None:
            pass
    return facets


MEMORY: Final[Kind[StoredMemory]] = Kind(
    name="memory",
    prefix="mem_",
    record=ControlRecord[StoredMemory],
    noun="memory",
    deeds=("created", "updated", "deleted"),
    family="memory_store",
    within="parent",
    parent=lambda memory: memory.memory_store_id,
    unique_name=lambda memory: memory.path,
    admit=_admit,
    facets=lambda memory: {"path": memory.path},
    derived=_version_of,
    show=lambda memory: memory.shown(),
)
MEMORY_VERSION: Final[Kind[MemoryVersion]] = Kind(
    name="memory_version",
    prefix="memver_",
    record=ControlRecord[MemoryVersion],
    noun="memory version",
    deeds=("redacted",),
    family="memory_store",
    within="parent",
    parent=lambda version: version.memory_store_id,
    facets=_facets,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of a content without having it."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CreateMemory:
    """Make a memory at a path where there is none."""

    id: MemoryId
    store_id: MemoryStoreId
    version_id: MemoryVersionId
    path: str
    content: Content
    by: MemoryActor


@dataclass(frozen=True, slots=True)
class UpdateMemory:
    """Change the path, the content, or both; None leaves one as it is."""

    version_id: MemoryVersionId
    by: MemoryActor
    path: str | None = None
    content: Content | None = None
    based_on: MemoryVersionId | None = None
    """Without a content: the version whose content was copied for the new one."""
    expected_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteMemory:
    """Remove the memory; its versions stay."""

    version_id: MemoryVersionId
    by: MemoryActor
    expected_sha256: str | None = None


MemoryCommand = CreateMemory | UpdateMemory | DeleteMemory


class ContentMoved(Conflict):
    """Another version came since the content was copied: make the command again."""

    def __init__(self) -> None:
        super().__init__("The memory was changed at the same time. Please retry.")


def not_found() -> NotFound:
    """The refusal when there is no such memory."""
    return NotFound("Memory not found.")


def version_not_found() -> NotFound:
    """The refusal when there is no such version."""
    return NotFound("Memory version not found.")


def is_current() -> InvalidRequest:
    """The refusal to redact what a memory says now."""
    return InvalidRequest("The current version of a memory cannot be redacted; update or delete the memory first.")


def decide(current: StoredMemory | None, command: MemoryCommand, now: Timestamp) -> Change[StoredMemory] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    if isinstance(command, CreateMemory):
        if current is not None:
            raise Conflict(f"memory {command.id} exists already")
        return Change("created", _create(command, now))
    if current is None:
        raise not_found()
    now = max(now, current.updated_at)
    match command:
        case UpdateMemory():
            return _update(current, command, now)
        case DeleteMemory(version_id=version_id, by=by):
            _check_expected(current, command.expected_sha256)
            gone = {"memory_version_id": version_id, "written_by": by, "updated_at": now}
            return Change("deleted", current.model_copy(update=gone))


def _create(command: CreateMemory, now: Timestamp) -> StoredMemory:
    return StoredMemory(
        id=command.id,
        memory_store_id=command.store_id,
        path=checked_path(command.path),
        content_sha256=command.content.sha256,
        content_size_bytes=command.content.size_bytes,
        memory_version_id=command.version_id,
        written_by=command.by,
        created_at=now,
        updated_at=now,
    )


def _update(memory: StoredMemory, command: UpdateMemory, now: Timestamp) -> Change[StoredMemory] | None:
    path = memory.path if command.path is None else checked_path(command.path)
    stored = Content(memory.content_sha256, memory.content_size_bytes)
    content = command.content or stored
    if (path, content) == (memory.path, stored):
        return None  # what is wanted is there already, whatever was expected
    _check_expected(memory, command.expected_sha256)
    if command.content is None and command.based_on != memory.memory_version_id:
        raise ContentMoved
    changed = {
        "path": path,
        "content_sha256": content.sha256,
        "content_size_bytes": content.size_bytes,
        "memory_version_id": command.version_id,
        "written_by": command.by,
        "updated_at": now,
    }
    return Change("updated", memory.model_copy(update=changed))


def _check_expected(memory: StoredMemory, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and expected_sha256 != memory.content_sha256:
        raise Conflict(
            f"The content of memory {memory.id} is not the expected one: its content_sha256 is {memory.content_sha256}",
            type="memory_precondition_failed_error",
        )


def redact(
    stored: MemoryVersion | None, version: MemoryVersion, by: MemoryActor, now: Timestamp
) -> Change[MemoryVersion] | None:
    """The version without what it said; None when it is redacted already."""
    if stored is not None:
        return None
    return Change("redacted", version.redacted(now, by))


def scrubbed(memory: StoredMemory) -> Change[StoredMemory]:
    """The deletion of a memory without what it said: takes the place of one whose version is redacted."""
    gone = {"path": "", "content_sha256": "", "content_size_bytes": 0}
    return Change("deleted", memory.model_copy(update=gone))
