"""Memory stores as a brain uses them on behalf of sessions: what it writes says which session's agent did."""

from efferent.brain.placements import MemoryChange, MemoryPlace
from efferent.common.control.aggregates import Actor
from efferent.common.domain.ids import MemoryStoreId, SessionId, WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.memory import SessionActor, StoredMemory
from efferent.common.memory.store import Author, MemoryStores, content_key
from efferent.common.memory.store import MemoryChange as Update


class SessionMemories:
    """Implements ``efferent.brain.ports.Memories``."""

    def __init__(self, stores: MemoryStores) -> None:
        self._stores = stores

    async def listing(self, workspace_id: WorkspaceId, memory_store_id: str) -> tuple[MemoryPlace, ...]:
        """Every memory of a store; of one that is gone, none. Raises LogUnavailable."""
        store_id = MemoryStoreId(memory_store_id)
        try:
            found = await self._stores.memories(workspace_id, store_id)
        except NotFound:
            return ()
        return tuple(
            MemoryPlace(one.path, content_key(store_id, one.memory_version_id), one.content_sha256) for one in found
        )

    async def write(
        self, workspace_id: WorkspaceId, session_id: SessionId, memory_store_id: str, change: MemoryChange
    ) -> None:
        """Record what a session's agent did. Raises Refused, LogUnavailable, BlobsUnavailable.

        Only what is still as the agent saw it is changed or deleted; where it is not, the store wins.
        """
        store_id = MemoryStoreId(memory_store_id)
        author = Author(Actor(workspace_id), SessionActor(session_id=session_id))
        if change.base_sha256 is None and change.content is not None:
            await self._stores.create(author, store_id, change.path, change.content.decode())
            return
        known = await self._at(workspace_id, store_id, change.path)
        if known is None:
            return
        if change.content is None:
            await self._stores.delete(author, store_id, known.id, expected_sha256=change.base_sha256)
        else:
            update = Update(content=change.content.decode(), expected_sha256=change.base_sha256)
            await self._stores.update(author, store_id, known.id, update)

    async def _at(self, workspace_id: WorkspaceId, store_id: MemoryStoreId, path: str) -> StoredMemory | None:
        found = await self._stores.memories(workspace_id, store_id)
        return next((one for one in found if one.path == path), None)
