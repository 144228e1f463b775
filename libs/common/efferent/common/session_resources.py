"""Attaching resources to a session: what is asked for is looked up, copied and sealed, before the log hears of it.

Everything made here for a session that then is not made can be made again under the same ids, or is undone.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.domain.attachments import (
    AttachFile,
    AttachMemoryStore,
    Attachment,
    AttachRepository,
    FileSpec,
    MemoryStoreSpec,
    RepositorySpec,
    ResourceSpec,
    check_distinct_stores,
    check_kinds,
    places,
)
from efferent.common.domain.commands import EventDraft
from efferent.common.domain.control.memory_store import MEMORY_STORE
from efferent.common.domain.ids import FileId, SessionId, SessionResourceId, WorkspaceId, derive
from efferent.common.domain.mount_paths import memory_path
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import Environment
from efferent.common.domain.resources.session_resource import StoredContent
from efferent.common.domain.sealed import Sealed
from efferent.common.files.sources import check_sources
from efferent.common.files.store import FileStore
from efferent.common.secrets.box import SecretBox

COPIES_AT_ONCE: Final = 8
"""Files that are copied at the same time for one session."""


@dataclass(frozen=True, slots=True)
class Attachments:
    """What a new session gets."""

    resources: tuple[Attachment, ...] = ()
    sealed_tokens: Sealed | None = None


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """The session that resources are attached to."""

    session_id: SessionId
    workspace_id: WorkspaceId
    agent: AgentSnapshot
    environment: Environment


class ResourceAttacher:
    """Prepares resources for sessions."""

    def __init__(self, aggregates: Aggregates, files: FileStore, box: SecretBox) -> None:
        self._aggregates = aggregates
        self._files = files
        self._box = box

    async def prepare(self, place: SessionPlace, specs: Sequence[ResourceSpec]) -> Attachments:
        """Everything that a new session is to have. Raises InvalidRequest, NotFound, LogUnavailable, BlobsUnavailable.

        Ids derive from the session's, so that a second try for the same session makes the same copies.
        """
        if not specs:
            return Attachments()
        check_kinds([spec.type for spec in specs], place.agent, place.environment.id, place.environment.config)
        check_distinct_stores(specs)
        paths = places(specs)
        stores = await self._stores(place.workspace_id, specs)
        copies = await self._copies(place, specs, paths)
        resources: list[Attachment] = []
        for index, spec in enumerate(specs):
            match spec:
                case FileSpec():
                    resources.append(copies[index])
                case RepositorySpec():
                    identifier = _resource_id(place.session_id, index)
                    resources.append(AttachRepository(identifier, spec.url, paths[index], spec.checkout))
                case MemoryStoreSpec():
                    resources.append(stores[index])
        return Attachments(tuple(resources), await self._tokens(place.session_id, specs))

    async def check_sources(self, workspace_id: WorkspaceId, events: Sequence[EventDraft]) -> None:
        """Look up what the initial events of a session name. Raises InvalidRequest, NotFound, LogUnavailable."""
        await check_sources(self._files, workspace_id, events, "initial_events")

    async def copy_file(
        self, workspace_id: WorkspaceId, session_id: SessionId, spec: FileSpec, mount_path: str, seed: str
    ) -> AttachFile:
        """A session's own copy of a file, to be attached; ``seed`` decides its ids.

        Raises NotFound, LogUnavailable, BlobsUnavailable.
        """
        copy_id = FileId(derive("file_", session_id, "resource", seed))
        copy = await self._files.copy_for_session(Actor(workspace_id), spec.file_id, session_id, copy_id=copy_id)
        return AttachFile(
            id=SessionResourceId(derive("sesrsc_", session_id, "resource", seed)),
            file_id=copy.id,
            mount_path=mount_path,
            content=StoredContent(blob_key=copy.blob_key, size_bytes=copy.size_bytes),
        )

    async def drop_all(self, workspace_id: WorkspaceId, session_id: SessionId) -> None:
        """Delete everything that was made for a session that is gone, or never came. Safe to repeat.

        Raises LogUnavailable, BlobsUnavailable.
        """
        await self._box.shred(session_id)
        await self._files.delete_of_session(workspace_id, session_id)

    async def drop_file(self, workspace_id: WorkspaceId, file_id: str) -> None:
        """Delete a session's copy of a file; one that is gone is left alone. Raises LogUnavailable, OSError."""
        try:
            await self._files.delete(Actor(workspace_id), file_id)
        except NotFound:
            return

    async def with_token(
        self, session_id: SessionId, sealed: Sealed | None, resource_id: SessionResourceId, token: str
    ) -> Sealed:
        """The tokens of a session with one of them replaced. Raises CannotOpen, LogUnavailable."""
        known = await self._box.open(session_id, sealed) if sealed is not None else {}
        return await self._box.seal(session_id, {**known, resource_id: token})

    async def forget_tokens(self, session_id: SessionId, sealed: Sealed) -> None:
        """Make tokens that others replaced, or that were never recorded, unreadable. Raises LogUnavailable."""
        await self._box.destroy(session_id, sealed)

    async def _tokens(self, session_id: SessionId, specs: Sequence[ResourceSpec]) -> Sealed | None:
        tokens: dict[str, str] = {
            _resource_id(session_id, index): spec.authorization_token
            for index, spec in enumerate(specs)
            if isinstance(spec, RepositorySpec) and spec.authorization_token is not None
        }
        return await self._box.seal(session_id, tokens) if tokens else None

    async def _copies(
        self, place: SessionPlace, specs: Sequence[ResourceSpec], paths: Mapping[int, str]
    ) -> dict[int, AttachFile]:
        wanted = [(index, spec) for index, spec in enumerate(specs) if isinstance(spec, FileSpec)]
        turns = asyncio.Semaphore(COPIES_AT_ONCE)

        async def look(index: int, spec: FileSpec) -> None:
            async with turns:
                try:
                    await self._files.get(place.workspace_id, spec.file_id)
                except NotFound as error:
                    raise NotFound(f"resources[{index}].file_id: {error.message}", code=error.code) from error

        async def copy(index: int, spec: FileSpec) -> tuple[int, AttachFile]:
            async with turns:
                made = await self.copy_file(place.workspace_id, place.session_id, spec, paths[index], str(index))
                return index, made

        # All are looked at before the first is copied: most refusals then leave nothing to undo.
        await _all([look(index, spec) for index, spec in wanted])
        made = await _all([copy(index, spec) for index, spec in wanted])
        return dict(made)

    async def _stores(self, workspace_id: WorkspaceId, specs: Sequence[ResourceSpec]) -> dict[int, AttachMemoryStore]:
        found: dict[int, AttachMemoryStore] = {}
        for index, spec in enumerate(specs):
            if not isinstance(spec, MemoryStoreSpec):
                continue
            identifier = spec.memory_store_id
            store = (await self._aggregates.load(MEMORY_STORE, workspace_id, identifier)).data
            if store is None:
                raise NotFound(f"resources[{index}].memory_store_id: Memory store {identifier} not found.")
            if store.archived_at is not None:
                raise InvalidRequest(f"resources[{index}].memory_store_id: memory store {identifier} is archived")
            found[index] = AttachMemoryStore(
                memory_store_id=identifier,
                access=spec.access,
                instructions=spec.instructions,
                name=store.name,
                description=store.description,
                mount_path=memory_path(store.name, (made.mount_path for made in found.values())),
            )
        return found


async def _all[T](steps: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all; when one fails the others are ended, and its own exception is raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        raise


def _resource_id(session_id: SessionId, index: int) -> SessionResourceId:
    return SessionResourceId(derive("sesrsc_", session_id, "resource", str(index)))
