"""Memory stores in the log, and what is in them: for clients of the API and for the sandboxes of sessions alike.

A version's content is a blob under the id of its store, put before the record that names it. Who may do what is decided
before anything here is called; what is written says by whom.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.collection import Collection
from efferent.common.control.kinds import subject_of
from efferent.common.domain.control import memory, memory_store
from efferent.common.domain.control.memory import (
    CONTENT_BYTES_MAX,
    MEMORY,
    MEMORY_VERSION,
    Content,
    ContentMoved,
    CreateMemory,
    DeleteMemory,
    MemoryCommand,
    UpdateMemory,
)
from efferent.common.domain.control.memory_paths import checked_path
from efferent.common.domain.control.memory_store import MEMORY_STORE, DeleteMemoryStore, MemoryStoreCommand
from efferent.common.domain.ids import MemoryId, MemoryStoreId, MemoryVersionId, WorkspaceId, from_seed
from efferent.common.domain.refusals import InvalidRequest, Refused
from efferent.common.domain.resources.memory import MemoryActor, MemoryStore, MemoryVersion, StoredMemory
from efferent.common.ports import BlobStore, ControlLog, IdSource

MEMORY_STORES: Final[Collection[MemoryStore, MemoryStoreCommand]] = Collection(
    MEMORY_STORE, memory_store.decide, memory_store.not_found
)
MEMORIES: Final[Collection[StoredMemory, MemoryCommand]] = Collection(MEMORY, memory.decide, memory.not_found)

READS_AT_ONCE: Final = 8
"""Blobs that one request reads at the same time."""
_TRIES: Final = 16
"""How often it is tried again when the content changes between two reads."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: whose workspace and key it is, and what the version says of it."""

    actor: Actor
    by: MemoryActor


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """What a memory is to become; None leaves a part as it is."""

    path: str | None = None
    content: str | None = None
    expected_sha256: str | None = None


class MemoryStores:
    """Reads and writes all memory stores."""

    def __init__(self, aggregates: Aggregates, control_log: ControlLog, blobs: BlobStore, ids: IdSource) -> None:
        self._aggregates = aggregates
        self._control_log = control_log
        self._blobs = blobs
        self._ids = ids

    async def store(self, workspace_id: WorkspaceId, store_id: MemoryStoreId) -> MemoryStore:
        """The store. Raises NotFound, LogUnavailable."""
        return await MEMORY_STORES.get(self._aggregates, workspace_id, store_id)

    async def delete_store(self, actor: Actor, store_id: MemoryStoreId) -> None:
        """Remove the store with everything in it. Raises NotFound, LogUnavailable, BlobsUnavailable.

        Once its record says so, nothing reaches what is in it; contents that a crash left are swept later.
        """
        await MEMORY_STORES.change(self._aggregates, actor, store_id, DeleteMemoryStore())
        await self._blobs.delete(f"{store_id}/")

    async def memories(self, workspace_id: WorkspaceId, store_id: MemoryStoreId) -> list[StoredMemory]:
        """All memories of the store by path, read from the log. Raises NotFound, LogUnavailable."""
        await self.store(workspace_id, store_id)
        found = await self._aggregates.children(MEMORY, workspace_id, store_id)
        return sorted(found, key=lambda one: one.path)

    async def get(self, workspace_id: WorkspaceId, store_id: MemoryStoreId, memory_id: MemoryId) -> StoredMemory:
        """One memory. Raises NotFound, LogUnavailable."""
        await self.store(workspace_id, store_id)
        return await MEMORIES.get(self._aggregates, workspace_id, memory_id, within=store_id)

    async def content(self, store_id: MemoryStoreId, version_id: MemoryVersionId) -> str | None:
        """What a version says; None when that is gone. Raises BlobsUnavailable."""
        try:
            return (await self._blobs.get(content_key(store_id, version_id))).decode()
        except KeyError:
            return None

    async def read(
        self, workspace_id: WorkspaceId, store_id: MemoryStoreId, memory_id: MemoryId
    ) -> tuple[StoredMemory, str | None]:
        """One memory with its content. Raises NotFound, LogUnavailable, BlobsUnavailable."""
        found, content = await self.get(workspace_id, store_id, memory_id), None
        for _ in range(_TRIES):
            content = await self.content(store_id, found.memory_version_id)
            if content is not None:
                break
            # Only a version that is not the current one any more can lose its content.
            found = await self.get(workspace_id, store_id, memory_id)
        return found, content

    async def contents(self, store_id: MemoryStoreId, version_ids: list[MemoryVersionId]) -> list[str | None]:
        """What each of these versions says. Raises BlobsUnavailable."""
        limit = asyncio.Semaphore(READS_AT_ONCE)

        async def one(version_id: MemoryVersionId) -> str | None:
            async with limit:
                return await self.content(store_id, version_id)

        return list(await asyncio.gather(*map(one, version_ids)))

    async def create(self, author: Author, store_id: MemoryStoreId, path: str, content: str) -> StoredMemory:
        """Make a memory. Raises NotFound, InvalidRequest, Conflict, LogUnavailable, BlobsUnavailable."""
        checked_path(path)
        known = content_of(content)
        memory_store.check_active(await self.store(author.actor.workspace_id, store_id))
        memory_id, version_id = MemoryId(from_seed("mem_", self._ids.seed())), self._new_version_id()
        command = CreateMemory(memory_id, store_id, version_id, path, known, author.by)
        async with self._stored(store_id, version_id, content):
            return await MEMORIES.change(self._aggregates, author.actor, memory_id, command, within=store_id)

    async def update(
        self, author: Author, store_id: MemoryStoreId, memory_id: MemoryId, change: MemoryChange
    ) -> StoredMemory:
        """Change a memory; nothing is written when it is so already.

        Raises NotFound, InvalidRequest, Conflict, LogUnavailable, BlobsUnavailable.
        """
        if change.path is not None:
            checked_path(change.path)
        known = content_of(change.content) if change.content is not None else None
        memory_store.check_active(await self.store(author.actor.workspace_id, store_id))
        tries = 0
        while True:
            current = await MEMORIES.get(self._aggregates, author.actor.workspace_id, memory_id, within=store_id)
            command = UpdateMemory(
                version_id=self._new_version_id(),
                by=author.by,
                path=change.path,
                content=known,
                based_on=current.memory_version_id,
                expected_sha256=change.expected_sha256,
            )
            if memory.decide(current, command, current.updated_at) is None:
                return current
            try:
                return await self._change(author.actor, current, command, change.content)
            except ContentMoved:
                tries += 1
                if tries == _TRIES:
                    raise

    async def delete(
        self, author: Author, store_id: MemoryStoreId, memory_id: MemoryId, expected_sha256: str | None = None
    ) -> None:
        """Remove a memory; its versions stay. Raises NotFound, InvalidRequest, Conflict, LogUnavailable."""
        memory_store.check_active(await self.store(author.actor.workspace_id, store_id))
        command = DeleteMemory(self._new_version_id(), author.by, expected_sha256)
        await self._changed(author.actor, store_id, memory_id, command)

    async def redact(self, author: Author, version: MemoryVersion) -> MemoryVersion:
        """Remove for good what a version says, from the log too; asking again finishes what a crash left.

        Raises InvalidRequest for the current version of a memory, LogUnavailable, BlobsUnavailable.
        """
        store_id = version.memory_store_id
        workspace_id = author.actor.workspace_id
        current = await self._aggregates.load(MEMORY, workspace_id, version.memory_id, within=store_id)
        if current.data is not None and current.data.memory_version_id == version.id:
            raise memory.is_current()
        redacted = await self._aggregates.execute(
            MEMORY_VERSION,
            author.actor,
            version.id,
            lambda stored, now: memory.redact(stored, version, author.by, now),
            within=store_id,
        )
        await self._erase_records(author.actor, version)
        await self._blobs.delete(content_key(store_id, version.id))
        return redacted

    async def _change(
        self, actor: Actor, current: StoredMemory, command: UpdateMemory, content: str | None
    ) -> StoredMemory:
        """Store the new version's content, then the version. Raises ContentMoved when it was copied in vain."""
        store_id = current.memory_store_id
        if content is None:
            content = await self.content(store_id, current.memory_version_id)
            if content is None:
                raise ContentMoved
        async with self._stored(store_id, command.version_id, content):
            return await self._changed(actor, store_id, current.id, command)

    async def _changed(
        self, actor: Actor, store_id: MemoryStoreId, memory_id: MemoryId, command: MemoryCommand
    ) -> StoredMemory:
        """Change a memory of a store that is still active when the change is recorded."""

        async def still_active() -> None:
            memory_store.check_active(await self.store(actor.workspace_id, store_id))

        return await MEMORIES.change(self._aggregates, actor, memory_id, command, within=store_id, guard=still_active)

    async def _erase_records(self, actor: Actor, version: MemoryVersion) -> None:
        """Erase the memory's records of this version; the newest one, when it is a deletion, is replaced before."""
        subject = subject_of(MEMORY, actor.workspace_id, version.memory_id, version.memory_store_id)
        told, newest = [], None
        async for raw in self._control_log.read(subject):
            newest = MEMORY.decode(raw.payload)
            if newest.data.memory_version_id == version.id and newest.data.path:
                told.append(raw.sequence)
        if newest is not None and newest.data.memory_version_id == version.id and newest.data.path:
            deleted = memory.scrubbed(newest.data)
            await self._aggregates.execute(
                MEMORY, actor, version.memory_id, lambda _, __: deleted, within=version.memory_store_id
            )
        for sequence in told:
            await self._control_log.erase(sequence)

    @asynccontextmanager
    async def _stored(self, store_id: MemoryStoreId, version_id: MemoryVersionId, content: str) -> AsyncGenerator[None]:
        """Keep the content while the block records it, and for good when that worked."""
        key = content_key(store_id, version_id)
        await self._blobs.put(key, content.encode())
        try:
            yield
        except Refused:
            # Refused, so nothing names it. After any other error the record may have been written.
            with contextlib.suppress(Exception):
                await self._blobs.delete(key)
            raise

    def _new_version_id(self) -> MemoryVersionId:
        return MemoryVersionId(from_seed("memver_", self._ids.seed()))


def content_of(content: str) -> Content:
    """Digest and size. Raises InvalidRequest when it is too long or no text."""
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("content: must be valid Unicode text") from error
    if len(data) > CONTENT_BYTES_MAX:
        raise InvalidRequest(f"content: must be at most {CONTENT_BYTES_MAX} bytes long")
    return Content(hashlib.sha256(data).hexdigest(), len(data))


def content_key(store_id: MemoryStoreId, version_id: MemoryVersionId) -> str:
    """Where what a version says is kept."""
    return f"{store_id}/versions/{version_id}"
