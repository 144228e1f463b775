"""Which deployments are due when: folded from their records, asked with a time. Pure.

A slot's fire starts after a jitter that is the same in every replica. A slot that nobody could start within its jitter
window and ``LATE_S`` is passed over, so a server that was down does not make up for what it missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Final

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import ControlRecord
from efferent.common.domain.control.schedule import JITTER_MAX_S, jitter_s, jitter_window_s, next_slot
from efferent.common.domain.ids import DeploymentId, WorkspaceId
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.deployment import AgentReference, CronSchedule, Deployment

LATE_S: Final = 30.0
"""How long after its jitter window a fire may still start."""
_LOOK_BACK: Final = timedelta(seconds=JITTER_MAX_S + LATE_S + 60)
"""How far back slots are looked for that might still start."""


@dataclass(frozen=True, slots=True)
class Due:
    """A slot whose fire has to start now."""

    workspace_id: WorkspaceId
    deployment_id: DeploymentId
    agent: AgentReference
    slot: datetime


@dataclass(slots=True)
class _Entry:
    workspace_id: WorkspaceId
    agent: AgentReference
    schedule: CronSchedule | None
    """None: it is not due by itself, or paused."""
    since: datetime
    """Slots before are not its business: then it was made, unpaused, or got this schedule."""
    plan: int = 0
    """Number of the plan that holds; older ones in the heap are void."""


@dataclass(frozen=True, slots=True, order=True)
class _Planned:
    start_at: datetime
    deployment_id: DeploymentId
    slot: datetime = field(compare=False)
    latest_at: datetime = field(compare=False)
    plan: int = field(compare=False)


class Timetable:
    """All deployments that are not archived."""

    def __init__(self) -> None:
        self._entries: dict[DeploymentId, _Entry] = {}
        self._planned: list[_Planned] = []
        self._unplanned: set[DeploymentId] = set()
        self.unkept: list[tuple[DeploymentId, str]] = []
        """Deployments whose schedule turned out to be none that can be kept, and why: a zone that is no more."""

    def apply(self, record: ControlRecord[Deployment]) -> None:
        """Take in the next record of a deployment."""
        deployment = record.data
        if deployment.archived_at is not None:
            self._entries.pop(deployment.id, None)
            return
        known = self._entries.get(deployment.id)
        schedule = deployment.schedule if deployment.is_due else None
        if known is None:
            at = timestamp.to_datetime(record.at)
            self._entries[deployment.id] = _Entry(record.workspace_id, deployment.agent, schedule, since=at)
            self._unplanned.add(deployment.id)
            return
        known.agent = deployment.agent
        if known.schedule != schedule:
            known.schedule = schedule
            known.since = timestamp.to_datetime(record.at)
            self._unplanned.add(deployment.id)

    def due(self, now: datetime, most: int) -> Sequence[Due]:
        """Up to ``most`` fires that have to start now; each is given once."""
        for deployment_id in self._unplanned:
            entry = self._entries.get(deployment_id)
            if entry is not None:
                self._plan(deployment_id, entry, max(entry.since, now - _LOOK_BACK), now)
        self._unplanned.clear()
        found: list[Due] = []
        while len(found) < most and self._planned and self._planned[0].start_at <= now:
            planned = heappop(self._planned)
            entry = self._entries.get(planned.deployment_id)
            if entry is None or entry.plan != planned.plan:
                continue
            if now <= planned.latest_at:
                found.append(Due(entry.workspace_id, planned.deployment_id, entry.agent, planned.slot))
            self._plan(planned.deployment_id, entry, max(planned.slot, now - _LOOK_BACK), now)
        return found

    def next_at(self) -> datetime | None:
        """When the next fire starts; None when none is planned."""
        return self._planned[0].start_at if self._planned else None

    def of_agent(self, agent_id: str) -> Sequence[tuple[WorkspaceId, DeploymentId]]:
        """The deployments of an agent."""
        return [(entry.workspace_id, id) for id, entry in self._entries.items() if entry.agent.id == agent_id]

    def _plan(self, deployment_id: DeploymentId, entry: _Entry, after: datetime, now: datetime) -> None:
        """Plan the first slot after ``after`` that can still be started."""
        entry.plan += 1
        if entry.schedule is not None:
            try:
                self._plan_slot(deployment_id, entry, entry.schedule, after, now)
            except InvalidRequest as error:
                self.unkept.append((deployment_id, error.message))

    def _plan_slot(
        self, deployment_id: DeploymentId, entry: _Entry, schedule: CronSchedule, after: datetime, now: datetime
    ) -> None:
        expression, zone = schedule.expression, schedule.timezone
        slot = next_slot(expression, zone, after)
        while slot is not None:
            following = next_slot(expression, zone, slot)
            window_s = jitter_window_s(slot, following)
            latest_at = slot + timedelta(seconds=window_s + LATE_S)
            if latest_at >= now:
                start_at = slot + timedelta(seconds=jitter_s(deployment_id, slot, window_s))
                heappush(self._planned, _Planned(start_at, deployment_id, slot, latest_at, entry.plan))
                return
            slot = following
