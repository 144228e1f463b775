"""Every work item in memory, as the feed of stream ``WORK`` brings it: what lists, statistics and polls look into.

An item here may be a moment old. Nothing is decided on it alone: every change is fenced in the log.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from efferent.common.domain import work
from efferent.common.domain.ids import EnvironmentId, WorkId
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.timestamp import Timestamp, later
from efferent.common.jetstream.work_log import STOPPED_KEPT_S, StoredWork
from efferent.gateway.progress import Progress


@dataclass(slots=True)
class _Queue:
    """The items of one environment, by what has to be looked at: a poll takes the first that waits."""

    waiting: dict[WorkId, StoredWork] = field(default_factory=dict)
    """Queued and not claimed, in the order in which they came."""
    held: dict[WorkId, StoredWork] = field(default_factory=dict)
    """Claimed or leased: as many as there are workers."""
    stopped: dict[WorkId, StoredWork] = field(default_factory=dict)

    def place(self, stored: StoredWork) -> None:
        for items in (self.waiting, self.held, self.stopped):
            items.pop(stored.item.id, None)
        self._of(stored.item)[stored.item.id] = stored

    def known(self, work_id: WorkId) -> StoredWork | None:
        return self.waiting.get(work_id) or self.held.get(work_id) or self.stopped.get(work_id)

    def all(self) -> Iterator[StoredWork]:
        for items in (self.waiting, self.held, self.stopped):
            yield from items.values()

    def _of(self, item: WorkItem) -> dict[WorkId, StoredWork]:
        if item.state == "stopped":
            return self.stopped
        return self.waiting if item.state == "queued" and item.claim is None else self.held


class WorkIndex:
    """The items of all environments."""

    def __init__(self, *, stopped_kept_s: int = STOPPED_KEPT_S) -> None:
        self.progress = Progress()
        """How far the index reflects the stream."""
        self._queues: dict[EnvironmentId, _Queue] = {}
        self._waiters: dict[EnvironmentId, set[asyncio.Event]] = {}
        self._stopped_kept_s = stopped_kept_s

    def apply(self, stored: StoredWork, now: Timestamp) -> None:
        """Take in an item unless a newer state of it is known; wakes polls that wait for one."""
        environment_id = stored.item.environment_id
        queue = self._queues.setdefault(environment_id, _Queue())
        known = queue.known(stored.item.id)
        if known is not None and known.sequence >= stored.sequence:
            return
        queue.place(stored)
        self._forget_stopped(queue, now)
        for waiter in self._waiters.get(environment_id, ()):
            waiter.set()

    def find(self, environment_id: EnvironmentId, work_id: WorkId) -> StoredWork | None:
        """An item as it was a moment ago; None when it is not known here."""
        queue = self._queues.get(environment_id)
        return queue.known(work_id) if queue is not None else None

    def claimable(
        self, environment_id: EnvironmentId, now: Timestamp, reclaim_older_than_ms: int
    ) -> Iterator[StoredWork]:
        """Items that a poll may take: first those that their worker lost, then those that wait, oldest first."""
        queue = self._queues.get(environment_id)
        if queue is None:
            return
        for items in (queue.held, queue.waiting):
            for stored in list(items.values()):
                if work.is_claimable(stored.item, now, reclaim_older_than_ms):
                    yield stored

    def next_change(self, environment_id: EnvironmentId, reclaim_older_than_ms: int) -> Timestamp | None:
        """When an item becomes claimable by time alone; None when none will."""
        queue = self._queues.get(environment_id)
        held = queue.held.values() if queue is not None else ()
        times = (_claimable_at(stored.item, reclaim_older_than_ms) for stored in held)
        return min((time for time in times if time is not None), default=None)

    def items(self, environment_id: EnvironmentId, now: Timestamp) -> list[WorkItem]:
        """All items of an environment as they are now, in no order."""
        queue = self._queues.get(environment_id)
        return [work.at(stored.item, now) for stored in queue.all()] if queue is not None else []

    def queued(self, environment_id: EnvironmentId, now: Timestamp) -> Iterable[WorkItem]:
        """The items that are in the queue, claimed ones included."""
        queue = self._queues.get(environment_id)
        if queue is None:
            return ()
        live = (work.at(stored.item, now) for items in (queue.waiting, queue.held) for stored in items.values())
        return (item for item in live if item.state == "queued")

    @contextlib.contextmanager
    def watching(self, environment_id: EnvironmentId) -> Iterator[asyncio.Event]:
        """An event that is set whenever an item of the environment changes, during the block."""
        waiter = asyncio.Event()
        waiters = self._waiters.setdefault(environment_id, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(environment_id) is waiters:
                del self._waiters[environment_id]

    def _forget_stopped(self, queue: _Queue, now: Timestamp) -> None:
        """The log forgets stopped items by their records' TTL, of which the feed says nothing."""
        before = later(now, -self._stopped_kept_s)
        for work_id, stored in list(queue.stopped.items()):
            if stored.item.stopped_at is None or stored.item.stopped_at >= before:
                break  # they came in the order in which they stopped
            del queue.stopped[work_id]


def _claimable_at(item: WorkItem, reclaim_older_than_ms: int) -> Timestamp | None:
    match item.state:
        case "queued" if item.claim is not None:
            return later(item.claim.at, reclaim_older_than_ms / 1_000)
        case "starting" | "active":
            return item.lease_until
        case _:
            return None
