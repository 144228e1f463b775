"""The one loop that follows ``CONTROL``: keys and other listeners in memory first, then the projection."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Final, Protocol

from efferent.common.jetstream import subjects
from efferent.common.ports import Feed, LogError, RawRecord
from efferent.common.runtime.metrics import Metrics
from efferent.gateway.control.projection import ControlProjection

RETRY_S: Final = 0.5

_log = logging.getLogger(__name__)


class ControlListener(Protocol):
    """Something that follows the control plane in memory. It may see a record twice, never one too few."""

    def apply(self, records: list[RawRecord]) -> None:
        """Take in the next records of ``CONTROL``, in order; never raises."""


class ControlFollower:
    """Runs the loop from ``start`` to ``stop``."""

    def __init__(
        self, feed: Feed, projection: ControlProjection, listeners: Sequence[ControlListener], metrics: Metrics
    ) -> None:
        self._feed = feed
        self._projection = projection
        self._listeners = tuple(listeners)
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin where the projection stands."""
        self._task = asyncio.create_task(self._follow(), name="control-follower")

    async def stop(self) -> None:
        """Follow no more; repeating it is harmless."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        while True:
            try:
                async for batch in self._feed.follow(after=self._projection.progress.applied):
                    records = list(batch)
                    for listener in self._listeners:
                        listener.apply(records)
                    if unreadable := await self._projection.apply(records):
                        self._metrics.records_unreadable.add(subjects.CONTROL, amount=unreadable)
                    self._metrics.control_applied.value = self._projection.progress.applied
            except (LogError, sqlite3.Error) as error:
                _log.warning("the control feed stopped", exc_info=error)
            except Exception as error:
                # A defect: lists stand still and readiness says so, while everything else goes on.
                _log.error("the control feed failed", exc_info=error)
            await asyncio.sleep(RETRY_S)
