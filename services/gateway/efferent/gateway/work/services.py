"""The running parts behind the work routes: the index and the loop that feeds it, the queue, and who polls."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from efferent.common.domain import work
from efferent.common.domain.record import Record
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp, from_epoch_us, seconds_between
from efferent.common.domain.work_demand import demand, is_self_hosted
from efferent.common.jetstream import subjects, work_log
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.work_log import JetStreamWorkLog
from efferent.common.ports import Clock, IdSource, LogError, LogUnreadable, RawRecord
from efferent.common.work.enqueuing import LEASE_TTL_S_DEFAULT, WorkEnqueuer
from efferent.gateway.access.principals import Principal, SessionsTokenHolder
from efferent.gateway.errors import Overloaded
from efferent.gateway.sessions.store import SessionStore
from efferent.gateway.work.index import WorkIndex
from efferent.gateway.work.queue import WorkQueue
from efferent.gateway.work.workers import PollingWorkers

CHECK_WAIT_S: Final = 1.0
"""How long readiness waits for the index to reach what the log held when it was asked."""
_RETRY_S: Final = 0.5
_MARGIN_S: Final = 0.01

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkParts:
    """What the work services are made of."""

    connection: Connection
    sessions: SessionStore
    clock: Clock
    ids: IdSource
    lease_ttl_s: int = LEASE_TTL_S_DEFAULT
    behind_wait_s: float = 5.0


class WorkServices:
    """Everything that the work routes use."""

    def __init__(self, parts: WorkParts) -> None:
        self._clock = parts.clock
        self._feed = JetStreamFeed(parts.connection, subjects.WORK)
        self.log = JetStreamWorkLog(parts.connection)
        self.index = WorkIndex()
        self.workers = PollingWorkers(parts.connection, parts.clock)
        self.queue = WorkQueue(
            self.log,
            self._feed,
            self.index,
            self.workers,
            parts.sessions,
            parts.clock,
            behind_wait_s=parts.behind_wait_s,
        )
        self._enqueuer = WorkEnqueuer(self.log, parts.clock, parts.ids, ttl_s=parts.lease_ttl_s)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow the stream. Raises LogUnavailable."""
        await self.workers.start()
        self._task = asyncio.create_task(self._follow(), name="work-follower")

    async def stop(self) -> None:
        """Follow no more. Safe to call twice, and after a failed start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self.workers.stop()

    async def check(self) -> str | None:
        """For readiness: None when the index has come as far as the log."""
        last = await self._feed.last_sequence()
        try:
            await self.index.progress.reach(last, CHECK_WAIT_S)
        except Overloaded:
            return f"{last - self.index.progress.applied} records behind"
        return None

    async def session_changed(self, state: SessionState, record: Record, sequence: int) -> None:
        """A record was written here: queue its work before the client hears of it.

        The record stands, so nothing that goes wrong here refuses the request: the automation makes it good.
        """
        if not is_self_hosted(state):
            return
        wanted = demand(entry.event for entry in record.entries)
        try:
            for stored in await self._enqueuer.demanded(state, wanted, sequence):
                self.index.apply(stored, from_epoch_us(self._clock.now_us()))
        except LogError as error:
            _log.warning("work is queued later: %s", error, extra={"session_id": state.session_id})

    @contextlib.asynccontextmanager
    async def while_live(self, principal: Principal, end: Callable[[], None]) -> AsyncIterator[None]:
        """Call ``end`` when a sessions token stops being its item's during the block; of others nothing is watched."""
        if not isinstance(principal, SessionsTokenHolder):
            yield
            return
        watching = asyncio.create_task(self._end_with_token(principal, end), name="token-watch")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _end_with_token(self, token: SessionsTokenHolder, end: Callable[[], None]) -> None:
        with self.index.watching(token.environment_id) as changed:
            while True:
                changed.clear()
                now = from_epoch_us(self._clock.now_us())
                stored = self.index.find(token.environment_id, token.work_id)
                if stored is not None and not work.is_token_live(stored.item, now, token.token_hash):
                    end()
                    return
                until = work.token_until(stored.item) if stored is not None else None
                wait_s = None if until is None else seconds_between(now, until) + _MARGIN_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await changed.wait()

    async def _follow(self) -> None:
        while True:
            try:
                async for batch in self._feed.follow(after=self.index.progress.applied):
                    now = from_epoch_us(self._clock.now_us())
                    for raw in batch:
                        self._apply(raw, now)
                    self.index.progress.advance(batch[-1].sequence)
            except LogError as error:
                _log.warning("the work feed stopped: %s", error)
            except Exception as error:
                # A defect: queues stand still and readiness says so, while everything else goes on.
                _log.error("the work feed failed", exc_info=error)
            await asyncio.sleep(_RETRY_S)

    def _apply(self, raw: RawRecord, now: Timestamp) -> None:
        try:
            self.index.apply(work_log.decode(raw), now)
        except LogUnreadable as error:
            _log.error("unreadable work item: %s", error, extra={"sequence": raw.sequence})


WORK: Final = web.AppKey("efferent.work", WorkServices)


def work_of(request: web.Request) -> WorkServices:
    """The work services of the gateway that serves this request."""
    return request.app[WORK]
