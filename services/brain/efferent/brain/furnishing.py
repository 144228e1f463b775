"""Gives tool calls the sandbox that they expect: files, skills and memories placed, and kept up to date.

What is placed is named with every call. The hands refuse a call whose placement is not there, and only then it is sent
to them: sessions without resources pay nothing.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from efferent.brain.placements import Placement, StorePlace, placement_of
from efferent.brain.ports import Hands, Memories, PlacementMissing, ToolOutcome
from efferent.common.domain.effects import RunTool
from efferent.common.domain.ids import ClaimId, SessionId
from efferent.common.domain.resources.session_resource import MemoryStoreResource
from efferent.common.domain.state import SessionState

PLACINGS_MAX: Final = 5
"""Times that one call is refused for its placement before the hands are said not to answer."""
SESSIONS_KEPT_MAX: Final = 1_000
"""Sessions whose memory listing is remembered for the rest of their turn."""


class Furnisher:
    """Runs tool calls in furnished sandboxes."""

    def __init__(self, hands: Hands, memories: Memories) -> None:
        self._hands = hands
        self._memories = memories
        self._listed: OrderedDict[SessionId, tuple[ClaimId, asyncio.Task[tuple[StorePlace, ...]]]] = OrderedDict()
        self._behind: OrderedDict[SessionId, None] = OrderedDict()

    async def execute(self, state: SessionState, claim_id: ClaimId, call: RunTool) -> ToolOutcome:
        """Run the call with everything in place. Raises HandsUnavailable, LogUnavailable."""
        for _ in range(PLACINGS_MAX - 1):
            placement = await self._placement(state, claim_id)
            try:
                return await self._hands.execute(
                    state.session_id, call.call_id, call.name, call.input, placement=placement.name
                )
            except PlacementMissing:
                await self._prepare(state.session_id, placement)
        raise PlacementMissing(f"the hands lost the session's files {PLACINGS_MAX} times")

    async def refresh(self, state: SessionState) -> None:
        """Bring the sandbox up to date with what was kept of it. Raises HandsUnavailable, LogUnavailable."""
        self.forget(state.session_id)
        stores = await self._stores(state)
        await self._prepare(state.session_id, placement_of(state, stores))

    def is_behind(self, session_id: SessionId) -> bool:
        """Whether the session's memory stores have changed since its sandbox was last brought up to date."""
        return session_id in self._behind

    def fall_behind(self, session_id: SessionId) -> None:
        """The session's memory stores have changed: look again before its next call."""
        self.forget(session_id)
        self._behind[session_id] = None
        while len(self._behind) > SESSIONS_KEPT_MAX:
            self._behind.popitem(last=False)

    def forget(self, session_id: SessionId) -> None:
        """Look at the session's memory stores again before its next call."""
        self._listed.pop(session_id, None)

    async def _prepare(self, session_id: SessionId, placement: Placement) -> None:
        await self._hands.prepare(session_id, placement)
        self._behind.pop(session_id, None)

    async def _placement(self, state: SessionState, claim_id: ClaimId) -> Placement:
        if not any(isinstance(held.resource, MemoryStoreResource) for held in state.resources):
            return placement_of(state, ())
        known = self._listed.get(state.session_id)
        if known is None or known[0] != claim_id:
            # Once per turn: what others write meanwhile is seen in the next one.
            known = (claim_id, asyncio.ensure_future(self._stores(state)))
            self._listed[state.session_id] = known
            while len(self._listed) > SESSIONS_KEPT_MAX:
                self._listed.popitem(last=False)
        try:
            return placement_of(state, await asyncio.shield(known[1]))
        except Exception:
            self.forget(state.session_id)
            raise

    async def _stores(self, state: SessionState) -> tuple[StorePlace, ...]:
        stores = [held.resource for held in state.resources if isinstance(held.resource, MemoryStoreResource)]
        return tuple(
            [
                StorePlace(
                    store.mount_path,
                    store.access == "read_only",
                    await self._memories.listing(state.workspace_id, store.memory_store_id),
                )
                for store in stores
            ]
        )
