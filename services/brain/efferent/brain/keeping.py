"""Keeps what a session's tools have made: outputs become files of the session, memory changes versions of their store.

Done when a session has gone idle, and before the record that led there is acknowledged: when a brain dies in between,
another one does it. Doing it twice changes nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from efferent.brain.furnishing import Furnisher
from efferent.brain.placements import Collected, MemoryChange, Output
from efferent.brain.ports import Hands, HandsUnavailable, Memories, OutputGone
from efferent.common.control.aggregates import Actor
from efferent.common.domain.ids import FileId, SessionId, derive
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.resources.session_resource import MemoryStoreResource
from efferent.common.domain.state import SessionState
from efferent.common.files.store import FileStore
from efferent.common.ports import BlobsUnavailable, LogError

ROUNDS_MAX: Final = 50
"""Times that the hands are asked again for more."""

logger = logging.getLogger("efferent.brain")


class Keeper:
    """Collects from sandboxes."""

    def __init__(
        self,
        hands: Hands,
        furnisher: Furnisher,
        files: FileStore,
        memories: Memories,
        was_deleted: Callable[[SessionId], Awaitable[bool]],
    ) -> None:
        """``was_deleted``: whether a session's deletion has begun."""
        self._was_deleted = was_deleted
        self._hands = hands
        self._furnisher = furnisher
        self._files = files
        self._memories = memories

    async def keep(self, state: SessionState) -> None:
        """Keep everything new. Never raises: what cannot be kept now is found again after the next turn."""
        if isinstance(state.environment_config, SelfHostedConfig):
            return  # its worker does
        try:
            await self._keep(state)
        except (HandsUnavailable, LogError, BlobsUnavailable) as error:
            logger.warning("what the tools made is kept later: %s", error, extra={"session_id": state.session_id})
        except Exception:
            # A bug here must not keep the session's input from being acknowledged.
            logger.exception("what the tools made could not be kept", extra={"session_id": state.session_id})

    async def _keep(self, state: SessionState) -> None:
        if self._furnisher.is_behind(state):
            # Else what the last turn left in memory would look like somebody else's, and win over this turn's.
            await self._furnisher.refresh(state)
        for _ in range(ROUNDS_MAX):
            found = await self._hands.collect(state.session_id)
            if found.outputs:
                await self._keep_outputs(state, found)
            try:
                for change in found.memories:
                    await self._keep_memory(state, change)
            finally:
                if found.memories:  # some of them may be written also when others could not be
                    self._furnisher.fall_behind(state.session_id)
            if found.is_all:
                return
            await self._furnisher.refresh(state)

    async def _keep_outputs(self, state: SessionState, found: Collected) -> None:
        kept: list[Output] = []
        for output in found.outputs:
            try:
                await self._keep_output(state, output)
            except OutputGone:
                continue  # it changed while it was read: the next look finds it as it is then
            except Refused as refused:
                logger.warning("an output cannot be kept: %s", refused, extra={"session_id": state.session_id})
            kept.append(output)
        if kept and await self._was_deleted(state.session_id):
            # Whoever deletes it may have looked for its files just before these came.
            await self._files.delete_of_session(state.workspace_id, state.session_id)
            return
        await self._hands.settle(state.session_id, tuple(kept))

    async def _keep_output(self, state: SessionState, output: Output) -> None:
        # The same file in the same state is the same output, whoever collects it how often.
        file_id = FileId(derive("file_", state.session_id, "output", output.path, output.stamp))
        await self._files.add_output(
            Actor(state.workspace_id),
            state.session_id,
            output.path,
            self._hands.read_output(state.session_id, output),
            file_id=file_id,
        )

    async def _keep_memory(self, state: SessionState, change: MemoryChange) -> None:
        for held in state.resources:
            resource = held.resource
            if isinstance(resource, MemoryStoreResource) and resource.mount_path == change.store_path:
                if resource.access == "read_only":
                    return
                try:
                    await self._memories.write(state.workspace_id, state.session_id, resource.memory_store_id, change)
                except Refused as refused:
                    # The store wins: somebody else was there first, or it does not take this path or content.
                    logger.info("a memory was not kept: %s", refused, extra={"session_id": state.session_id})
