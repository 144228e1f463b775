"""Gives tool calls the sandbox that they expect: files, skills and memories placed, and kept up to date.

What is placed is named with every call. The hands refuse a call whose placement is not there, and only then it is sent
to them: sessions without resources pay nothing.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
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
"""Sessions whose memory listing is remembered for the rest of their turn, and whether their sandbox is up to date."""


@dataclass(slots=True)
class _Sandbox:
    """A session's sandbox since what was kept of it last changed."""

    is_current: bool = False
    """Whether it was brought up to date since then."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a session's memory stores hold, for the rest of one turn."""

    claim_id: ClaimId
    stores: asyncio.Task[tuple[StorePlace, ...]]
    sandbox: _Sandbox
    """As of before it was listed."""


class Furnisher:
    """Runs tool calls in furnished sandboxes."""

    def __init__(self, hands: Hands, memories: Memories) -> None:
        self._hands = hands
        self._memories = memories
        self._listed: OrderedDict[SessionId, _Listing] = OrderedDict()
        self._sandboxes: OrderedDict[SessionId, _Sandbox] = OrderedDict()

    async def execute(self, state: SessionState, claim_id: ClaimId, call: RunTool) -> ToolOutcome:
        """Run the call with everything in place. Raises HandsUnavailable, LogUnavailable."""
        for _ in range(PLACINGS_MAX - 1):
            placement, sandbox = await self._placement(state, claim_id)
            try:
                return await self._hands.execute(
                    state.session_id, call.call_id, call.name, call.input, placement=placement.name
                )
            except PlacementMissing:
                await self._prepare(state.session_id, placement, sandbox)
        raise PlacementMissing(f"the hands lost the session's files {PLACINGS_MAX} times")

    async def refresh(self, state: SessionState) -> None:
        """Bring the sandbox up to date with what was kept of it. Raises HandsUnavailable, LogUnavailable."""
        self.forget(state.session_id)
        sandbox = self._sandbox(state.session_id)
        stores = await self._stores(state)
        await self._prepare(state.session_id, placement_of(state, stores), sandbox)

    def is_behind(self, state: SessionState) -> bool:
        """Whether the session's memory stores may have changed since its sandbox was last brought up to date.

        They may when nothing is known of it: another brain may have died right after it changed them.
        """
        return _has_memory(state) and not self._sandbox(state.session_id).is_current

    def fall_behind(self, session_id: SessionId) -> None:
        """The session's memory stores have changed: look again before its next call."""
        self.forget(session_id)
        self._sandboxes.pop(session_id, None)

    def forget(self, session_id: SessionId) -> None:
        """Look at the session's memory stores again before its next call."""
        self._listed.pop(session_id, None)

    async def _prepare(self, session_id: SessionId, placement: Placement, sandbox: _Sandbox) -> None:
        """``sandbox``: as it was before what is placed was looked up; what changed after that is not in it."""
        await self._hands.prepare(session_id, placement)
        sandbox.is_current = True

    def _sandbox(self, session_id: SessionId) -> _Sandbox:
        sandbox = self._sandboxes.setdefault(session_id, _Sandbox())
        self._sandboxes.move_to_end(session_id)
        while len(self._sandboxes) > SESSIONS_KEPT_MAX:
            self._sandboxes.popitem(last=False)
        return sandbox

    async def _placement(self, state: SessionState, claim_id: ClaimId) -> tuple[Placement, _Sandbox]:
        if not _has_memory(state):
            return placement_of(state, ()), _Sandbox()
        known = self._listed.get(state.session_id)
        if known is None or known.claim_id != claim_id:
            # Once per turn: what others write meanwhile is seen in the next one.
            sandbox = self._sandbox(state.session_id)
            known = _Listing(claim_id, asyncio.ensure_future(self._stores(state)), sandbox)
            self._listed[state.session_id] = known
            while len(self._listed) > SESSIONS_KEPT_MAX:
                self._listed.popitem(last=False)
        try:
            return placement_of(state, await asyncio.shield(known.stores)), known.sandbox
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


def _has_memory(state: SessionState) -> bool:
    return any(isinstance(held.resource, MemoryStoreResource) for held in state.resources)
