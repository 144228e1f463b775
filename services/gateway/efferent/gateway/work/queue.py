"""The work queue as its routes use it: every change is decided by the rules on what the log says, and fenced.

A poll looks for candidates in the index and takes the first whose claim the log accepts; the answer to an empty poll
waits for a change of the environment's items, or for the moment at which one becomes claimable by time alone.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from efferent.common.domain import work
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, WorkId, WorkspaceId
from efferent.common.domain.resources.work import WorkHeartbeat, WorkItem, WorkQueueStats
from efferent.common.domain.timestamp import Timestamp, from_epoch_us, seconds_between
from efferent.common.domain.work_demand import is_over
from efferent.common.jetstream.work_log import JetStreamWorkLog, StoredWork
from efferent.common.ports import Clock, Feed, LogConflict
from efferent.gateway.errors import NotFound, Overloaded
from efferent.gateway.sessions.store import SessionStore
from efferent.gateway.work import tokens
from efferent.gateway.work.index import WorkIndex
from efferent.gateway.work.workers import PollingWorkers

CANDIDATES_MAX: Final = 32
"""Items that one look at the queue tries to claim, when other polls are quicker each time."""
TRIES_MAX: Final = 16
"""How often a change of one item is decided again after a conflict."""
NOT_FOUND_TEXT: Final = "Work item not found."


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request it is: the workspace that everything must belong to, and the key."""

    workspace_id: WorkspaceId
    key_id: ApiKeyId


@dataclass(frozen=True, slots=True)
class PollOptions:
    """What a poll asks for."""

    block_ms: int = 0
    reclaim_older_than_ms: int = work.RECLAIM_MS_DEFAULT
    worker_id: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A polled item and the token that its worker works with: shown once, kept nowhere."""

    item: WorkItem
    token: str


class WorkQueue:
    """The queues of all environments."""

    def __init__(
        self,
        log: JetStreamWorkLog,
        feed: Feed,
        index: WorkIndex,
        workers: PollingWorkers,
        sessions: SessionStore,
        clock: Clock,
        *,
        behind_wait_s: float,
    ) -> None:
        self._log = log
        self._feed = feed
        self._index = index
        self._workers = workers
        self._sessions = sessions
        self._clock = clock
        self._behind_wait_s = behind_wait_s

    # --- polling --------------------------------------------------------------------------------------------------

    async def poll(self, asker: Asker, environment_id: EnvironmentId, options: PollOptions) -> Claimed | None:
        """Claim the next item; None when there is none within the time. Raises Overloaded, LogUnavailable."""
        if options.worker_id is not None:
            await self._workers.polled(environment_id, options.worker_id)
        await self._catch_up()
        until_s = self._clock.monotonic_s() + options.block_ms / 1_000
        with self._index.watching(environment_id) as changed:
            while True:
                changed.clear()
                claimed = await self._claim_first(asker, environment_id, options)
                left_s = until_s - self._clock.monotonic_s()
                if claimed is not None or left_s <= 0:
                    return claimed
                left_s = min(left_s, self._until_next_change_s(environment_id, options))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await changed.wait()

    async def _claim_first(self, asker: Asker, environment_id: EnvironmentId, options: PollOptions) -> Claimed | None:
        candidates = self._index.claimable(environment_id, self._now(), options.reclaim_older_than_ms)
        for candidate, _ in zip(candidates, range(CANDIDATES_MAX), strict=False):
            if candidate.item.workspace_id != asker.workspace_id:
                continue
            try:
                claimed = await self._claim(asker, candidate)
            except LogConflict:
                await self._refresh(candidate)
                continue
            if claimed is not None:
                return claimed
        return None

    async def _claim(self, asker: Asker, stored: StoredWork) -> Claimed | None:
        """Claim the item as the index knows it; None when its session is over, which ends the item.

        Raises LogConflict.
        """
        item = stored.item
        seen = await self._session_end(item)
        if seen is None:
            await self._write(work.stop(item, self._now(), force=True), stored.sequence)
            return None
        token = tokens.mint(item.environment_id, item.id)
        claimed = work.claim(item, self._now(), key_id=asker.key_id, token_hash=tokens.hash_token(token), seen=seen)
        return Claimed(await self._write(claimed, stored.sequence), token)

    async def _session_end(self, item: WorkItem) -> int | None:
        """The last sequence of the item's session; None when the session is over."""
        try:
            session = await self._sessions.load(item.session_id, item.workspace_id)
        except NotFound:
            return None
        return None if is_over(session.state) else session.sequence

    def _until_next_change_s(self, environment_id: EnvironmentId, options: PollOptions) -> float:
        moment = self._index.next_change(environment_id, options.reclaim_older_than_ms)
        return float("inf") if moment is None else seconds_between(self._now(), moment) + 0.001

    # --- one item -------------------------------------------------------------------------------------------------

    async def get(self, workspace_id: WorkspaceId, environment_id: EnvironmentId, work_id: WorkId) -> WorkItem:
        """The item as it is now. Raises NotFound, LogUnavailable."""
        return work.at((await self._find(workspace_id, environment_id, work_id)).item, self._now())

    async def acknowledge(self, workspace_id: WorkspaceId, environment_id: EnvironmentId, work_id: WorkId) -> WorkItem:
        """Take the item off the queue. Raises NotFound, Conflict when it is stopped, Overloaded, LogUnavailable."""
        return await self._change(workspace_id, environment_id, work_id, work.acknowledge)

    async def heartbeat(
        self,
        workspace_id: WorkspaceId,
        environment_id: EnvironmentId,
        work_id: WorkId,
        *,
        expected: str | None,
        ttl_s: int | None,
        token_hash: str | None,
    ) -> WorkHeartbeat:
        """Take or extend the lease. Raises LeaseLost, NotFound, Overloaded, LogUnavailable."""
        told: list[WorkHeartbeat] = []

        def rule(item: WorkItem, now: Timestamp) -> WorkItem:
            beat = work.heartbeat(item, now, expected=expected, ttl_s=ttl_s, token_hash=token_hash)
            told[:] = [beat.told]
            return beat.item

        await self._change(workspace_id, environment_id, work_id, rule)
        return told[0]

    async def stop(
        self,
        workspace_id: WorkspaceId,
        environment_id: EnvironmentId,
        work_id: WorkId,
        *,
        force: bool,
        by_worker: bool,
        token_hash: str | None,
    ) -> WorkItem:
        """End the item. Raises Conflict when it is stopped already, NotFound, Overloaded, LogUnavailable.

        ``by_worker``: when the session still needs a worker, what it did since the claim calls for another item. What
        anybody else stops stays stopped until something new happens.
        """
        seen = None
        if not by_worker:
            stored = await self._find(workspace_id, environment_id, work_id)
            seen = await self._session_end(stored.item)

        def rule(item: WorkItem, now: Timestamp) -> WorkItem:
            return work.stop(item, now, force=force, seen=seen, token_hash=token_hash)

        return await self._change(workspace_id, environment_id, work_id, rule)

    async def update(
        self,
        workspace_id: WorkspaceId,
        environment_id: EnvironmentId,
        work_id: WorkId,
        patch: dict[str, str | None],
    ) -> WorkItem:
        """Merge into the metadata. Raises InvalidRequest, NotFound, Overloaded, LogUnavailable."""

        def rule(item: WorkItem, now: Timestamp) -> WorkItem:
            return work.at(item, now).model_copy(update={"metadata": merged(item.metadata, patch)})

        return await self._change(workspace_id, environment_id, work_id, rule)

    # --- the whole queue ------------------------------------------------------------------------------------------

    async def items(self, workspace_id: WorkspaceId, environment_id: EnvironmentId) -> list[WorkItem]:
        """Every item of the environment, newest first. Raises Overloaded, LogUnavailable."""
        await self._catch_up()
        items = [item for item in self._index.items(environment_id, self._now()) if item.workspace_id == workspace_id]
        return sorted(items, key=lambda item: (item.created_at, item.id), reverse=True)

    async def stats(self, environment_id: EnvironmentId) -> WorkQueueStats:
        """How full the queue is. Raises Overloaded, LogUnavailable."""
        await self._catch_up()
        now = self._now()
        queued = list(self._index.queued(environment_id, now))
        pending = sum(1 for item in queued if item.claim is not None)
        return WorkQueueStats(
            depth=len(queued) - pending,
            pending=pending,
            oldest_queued_at=min((item.queued_at for item in queued), default=None),
            workers_polling=self._workers.count(environment_id),
        )

    # --- the log --------------------------------------------------------------------------------------------------

    async def _change(
        self,
        workspace_id: WorkspaceId,
        environment_id: EnvironmentId,
        work_id: WorkId,
        rule: Callable[[WorkItem, Timestamp], WorkItem],
    ) -> WorkItem:
        for _ in range(TRIES_MAX):
            stored = await self._find(workspace_id, environment_id, work_id)
            changed = rule(stored.item, self._now())
            if changed == stored.item:
                return changed
            with contextlib.suppress(LogConflict):
                return await self._write(changed, stored.sequence)
        raise Overloaded

    async def _find(self, workspace_id: WorkspaceId, environment_id: EnvironmentId, work_id: WorkId) -> StoredWork:
        stored = await self._log.find(environment_id, work_id)
        if stored is None or stored.item.workspace_id != workspace_id:
            raise NotFound(NOT_FOUND_TEXT)
        return stored

    async def _write(self, item: WorkItem, expected: int) -> WorkItem:
        self._index.apply(await self._log.change(item, expected=expected), self._now())
        return item

    async def _refresh(self, stale: StoredWork) -> None:
        """Somebody else was quicker: what the item is now, before the feed brings it."""
        stored = await self._log.find(stale.item.environment_id, stale.item.id)
        if stored is not None:
            self._index.apply(stored, self._now())

    async def _catch_up(self) -> None:
        """What was written before the request is seen by it, wherever it was written."""
        await self._index.progress.reach(await self._feed.last_sequence(), self._behind_wait_s)

    def _now(self) -> Timestamp:
        return from_epoch_us(self._clock.now_us())
