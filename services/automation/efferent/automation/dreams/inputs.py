"""What a dream reads, and the store that it writes, made ready before its session begins. Safe to repeat."""

import contextlib
from typing import Final

from efferent.automation.dreams.session import output_store_of, session_of
from efferent.automation.dreams.transcript import transcript
from efferent.automation.reactor import Desk
from efferent.common.control.aggregates import Actor
from efferent.common.domain.control.memory_store import NAME_LENGTH_MAX, CreateMemoryStore
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import MemoryStoreId, SessionId, WorkspaceId
from efferent.common.domain.refusals import Conflict, NotFound
from efferent.common.domain.resources.dream import Dream, DreamError, UpdateExisting
from efferent.common.domain.resources.memory import MemoryStore, SessionActor, StoredMemory
from efferent.common.memory.store import MEMORY_STORES, Author, MemoryStores

STORE_BYTES_MAX: Final = 10_000_000
"""What all memories of the store that is read may have together."""
NAME_SUFFIX: Final = " (dream)"


class Unusable(Exception):
    """A dream cannot begin."""

    def __init__(self, error: DreamError) -> None:
        super().__init__(error.message)
        self.error = error


class DreamInputs:
    """Reads and prepares what dreams work on."""

    def __init__(self, desk: Desk, *, store_bytes_max: int = STORE_BYTES_MAX) -> None:
        self._desk = desk
        self._stores = MemoryStores(desk.aggregates, desk.control, desk.blobs, desk.ids)
        self._store_bytes_max = store_bytes_max

    async def transcripts(self, workspace_id: WorkspaceId, dream: Dream) -> dict[str, str]:
        """What was said and done in each session. Raises Unusable, LogUnavailable."""
        return {text: await self._transcript(workspace_id, SessionId(text)) for text in dream.session_ids}

    async def output(self, workspace_id: WorkspaceId, dream: Dream) -> MemoryStore:
        """The store that the dream writes: the one that it reads, or a copy of it.

        Raises Unusable, LogUnavailable, BlobsUnavailable.
        """
        source_id = MemoryStoreId(dream.memory_store_id)
        try:
            source = await self._stores.store(workspace_id, source_id)
            memories = await self._stores.memories(workspace_id, source_id)
        except NotFound as missing:
            raise _store_unavailable(f"Memory store {source_id} does not exist any more.") from missing
        if source.archived_at is not None:
            raise _store_unavailable(f"Memory store {source_id} is archived.")
        size_bytes = sum(memory.content_size_bytes for memory in memories)
        if size_bytes > self._store_bytes_max:
            text = f"Memory store {source_id} has {size_bytes} bytes; a dream reads at most {self._store_bytes_max}."
            raise Unusable(DreamError(type="input_memory_store_too_large", message=text))
        if isinstance(dream.output_behavior, UpdateExisting):
            return source
        return await self._copy(workspace_id, dream, source, memories)

    async def _copy(
        self, workspace_id: WorkspaceId, dream: Dream, source: MemoryStore, memories: list[StoredMemory]
    ) -> MemoryStore:
        actor, output_id = Actor(workspace_id), output_store_of(dream)
        name = source.name[: NAME_LENGTH_MAX - len(NAME_SUFFIX)] + NAME_SUFFIX
        command = CreateMemoryStore(output_id, name, source.description, source.metadata)
        try:
            output = await MEMORY_STORES.change(self._desk.aggregates, actor, output_id, command)
        except Conflict:  # made by a try that did not get further
            output = await self._stores.store(workspace_id, output_id)
        author = Author(actor, SessionActor(session_id=session_of(dream)))
        known = {memory.path for memory in await self._stores.memories(workspace_id, output_id)}
        for memory in memories:
            if memory.path in known:
                continue
            with contextlib.suppress(NotFound, Conflict):  # deleted since, or copied by another replica
                current, content = await self._stores.read(workspace_id, source.id, memory.id)
                if content is not None:
                    await self._stores.create(author, output_id, current.path, content)
        return output

    async def _transcript(self, workspace_id: WorkspaceId, session_id: SessionId) -> str:
        records = [stored.record async for stored in self._desk.sessions.read(session_id)]
        state = fold(None, records)
        if state is None or state.deleted or state.workspace_id != workspace_id:
            text = f"Session {session_id} does not exist any more."
            raise Unusable(DreamError(type="input_session_unavailable", message=text))
        return transcript(records)


def _store_unavailable(text: str) -> Unusable:
    return Unusable(DreamError(type="input_memory_store_unavailable", message=text))
