"""Gives sessions of self-hosted environments their work items: one live item each, whoever notices first.

The gateway calls it right after it wrote a record that needs a worker, so that a poll that follows finds the item; the
automation calls it for every record, so that nothing is forgotten when a gateway died in between. Both may do so at
once and as often as they like.
"""

from collections.abc import Sequence
from typing import Final

from efferent.common.domain import work
from efferent.common.domain.ids import WorkId, from_seed
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp, from_epoch_us
from efferent.common.domain.work_demand import Demand, is_over, is_self_hosted, needs_worker
from efferent.common.jetstream.work_log import JetStreamWorkLog, StoredWork
from efferent.common.ports import Clock, IdSource, LogConflict

LEASE_TTL_S_DEFAULT: Final = 300
TRIES_MAX: Final = 8
"""How often a decision is made again after somebody else was quicker."""


class WorkEnqueuer:
    """Adds work items, and ends those of sessions that are over."""

    def __init__(self, log: JetStreamWorkLog, clock: Clock, ids: IdSource, *, ttl_s: int = LEASE_TTL_S_DEFAULT) -> None:
        """``ttl_s``: how long a worker may be silent before its item goes to another one."""
        self._log = log
        self._clock = clock
        self._ids = ids
        self._ttl_s = ttl_s

    async def demanded(self, state: SessionState, demand: Demand, sequence: int) -> Sequence[StoredWork]:
        """What the record at ``sequence`` asks for, seen from the session's present state. Returns what was written.

        Raises LogUnavailable, LogUnreadable, and LogConflict when others are quicker time and again.
        """
        if demand == "none" or not is_self_hosted(state):
            return ()
        for _ in range(TRIES_MAX):
            items = await self._log.of_session(state.environment_id, state.session_id)
            try:
                if demand == "over" or is_over(state):
                    return await self._end(items)
                return await self._begin(state, demand, sequence, items)
            except LogConflict:
                continue
        raise LogConflict(sequence)

    async def _begin(
        self, state: SessionState, demand: Demand, sequence: int, items: Sequence[StoredWork]
    ) -> Sequence[StoredWork]:
        now = self._now()
        if any(work.at(stored.item, now).state != "stopped" for stored in items):
            return ()
        if not _is_due(state, demand, sequence, [stored.item for stored in items]):
            return ()
        new = work.NewWork(
            id=WorkId(from_seed("work_", self._ids.seed())),
            environment_id=state.environment_id,
            workspace_id=state.workspace_id,
            session_id=state.session_id,
            ttl_s=self._ttl_s,
            wanted_by=sequence,
        )
        return [await self._log.add(work.enqueue(new, now), expected=items[-1].sequence if items else 0)]

    async def _end(self, items: Sequence[StoredWork]) -> Sequence[StoredWork]:
        now = self._now()
        return [
            await self._log.change(work.stop(stored.item, now, force=True), expected=stored.sequence)
            for stored in items
            if work.at(stored.item, now).state != "stopped"
        ]

    def _now(self) -> Timestamp:
        return from_epoch_us(self._clock.now_us())


def _is_due(state: SessionState, demand: Demand, sequence: int, stopped: Sequence[WorkItem]) -> bool:
    """Whether this record calls for a new item, and did not already have one."""
    if any(item.wanted_by >= sequence for item in stopped):
        return False
    if demand == "always":
        return True
    return needs_worker(state) and all(item.seen < sequence for item in stopped)
