"""Begins the run of every slot that is due. Every replica does so for every slot; the log lets one of them."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from efferent.automation.deployments.timetable import Due, Timetable
from efferent.common.control.aggregates import Actor
from efferent.common.deployments.firing import Firing
from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import UnreadableRecord
from efferent.common.domain.control.deployment import DEPLOYMENT
from efferent.common.domain.control.deployment_run import StartRun, run_of_slot
from efferent.common.domain.resources.deployment_run import ScheduleTrigger
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection, Message, Subscription
from efferent.common.ports import Clock, ControlLog, LogUnavailable

LOOK_EVERY_S: Final = 1.0
"""How often the log is asked for deployments that changed unnoticed, and the clock whether it was moved."""
STARTS_AT_ONCE_MAX: Final = 64
_SUBJECTS: Final = subjects.control_fence(DEPLOYMENT.subject_family)

_log = logging.getLogger(__name__)


class Scheduler:
    """Follows the deployments and starts what is due."""

    def __init__(self, connection: Connection, control_log: ControlLog, clock: Clock, firing: Firing) -> None:
        self._connection = connection
        self._control_log = control_log
        self._clock = clock
        self._firing = firing
        self.timetable = Timetable()
        self._position = 0
        self._again: list[Due] = []
        """Fires whose start the log did not answer."""
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()
        self._watching: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all deployments and begin. Raises LogUnavailable."""
        self._watching = await self._connection.subscribe(subjects.live(_SUBJECTS), self._changed)
        await self.catch_up()
        self._task = asyncio.create_task(self._run(), name="schedules")

    async def stop(self) -> None:
        """Start nothing more."""
        if self._watching is not None:
            await self._watching.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Look at the clock now."""
        self._wake.set()

    async def catch_up(self) -> None:
        """Take in every deployment as the log has it now. Raises LogUnavailable."""
        async with self._reading:
            async for raw in self._control_log.read(_SUBJECTS, after=self._position):
                self._position = raw.sequence
                try:
                    self.timetable.apply(DEPLOYMENT.decode(raw.payload))
                except UnreadableRecord as error:
                    _log.error(
                        "a deployment cannot be read and does not fire: %s",
                        error,
                        extra={"subject": raw.subject, "sequence": raw.sequence},
                    )

    async def start_due(self) -> int:
        """Begin the runs of all slots that are due; returns how many there were. Raises LogUnavailable."""
        due, self._again = self._again, []
        due += self.timetable.due(self._now(), STARTS_AT_ONCE_MAX - len(due))
        while self.timetable.unkept:
            deployment_id, reason = self.timetable.unkept.pop()
            _log.error("a schedule cannot be kept: %s", reason, extra={"deployment_id": deployment_id})
        answers = await asyncio.gather(*(self._begin(fire) for fire in due), return_exceptions=True)
        for fire, answer in zip(due, answers, strict=True):
            if isinstance(answer, LogUnavailable):
                self._again.append(fire)
            elif isinstance(answer, BaseException):
                _log.error("a run cannot begin", exc_info=answer, extra={"deployment_id": fire.deployment_id})
        if self._again:
            raise LogUnavailable(f"{len(self._again)} runs could not begin")
        return len(due)

    async def _begin(self, due: Due) -> None:
        command = StartRun(
            id=run_of_slot(due.deployment_id, due.slot),
            deployment_id=due.deployment_id,
            agent=due.agent,
            trigger=ScheduleTrigger(scheduled_at=timestamp.from_datetime(due.slot)),
        )
        await self._firing.start(Actor(due.workspace_id), command)

    async def _run(self) -> None:
        while True:
            pause_s = LOOK_EVERY_S
            try:
                await self.catch_up()
                while await self.start_due():
                    pass
                pause_s = self._pause_s()
            except LogUnavailable as error:
                _log.warning("schedules wait for the log: %s", error)
            except Exception as error:
                _log.error("schedules could not be looked at; they are again", exc_info=error)
            self._wake.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pause_s(self) -> float:
        next_at = self.timetable.next_at()
        if next_at is None:
            return LOOK_EVERY_S
        return min(max((next_at - self._now()).total_seconds(), 0.01), LOOK_EVERY_S)

    def _now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._clock.now_us())

    def _changed(self, _message: Message) -> None:
        self._wake.set()
