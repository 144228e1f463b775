"""Changes of aggregates that meet others: decided again, and not for ever."""

import asyncio

import pytest

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.control.environment import CreateEnvironment, UpdateEnvironment
from efferent.common.domain.ids import EnvironmentId, WorkspaceId
from efferent.common.ports import LogConflict
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream

ACTOR = Actor(WorkspaceId("wrkspc_1"))
ENVIRONMENT = EnvironmentId("env_1")


class Parts:
    """Aggregates over a log in memory."""

    def __init__(self) -> None:
        self.log = InMemoryControlLog(InMemoryStream())
        self.clock = FakeClock()
        self.aggregates = Aggregates(self.log, LogSets(self.log), self.clock, Metrics(), write_deadline_s=1.0)

    async def create(self, name: str) -> None:
        await ENVIRONMENTS.change(self.aggregates, ACTOR, ENVIRONMENT, CreateEnvironment(id=ENVIRONMENT, name=name))

    async def rename(self, name: str) -> None:
        await ENVIRONMENTS.change(self.aggregates, ACTOR, ENVIRONMENT, UpdateEnvironment(name=name))


async def test_a_guarded_change_that_others_are_always_quicker_than_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, rounds = Parts(), 0
    await parts.create("first")
    sequence = Aggregates._sequence

    async def others_are_quicker(aggregates: Aggregates, subject: str) -> int:
        nonlocal rounds
        rounds += 1
        parts.clock.advance(0.1)
        return await sequence(aggregates, subject) + 1  # as if it had changed since it was loaded

    monkeypatch.setattr(Aggregates, "_sequence", others_are_quicker)
    with pytest.raises(LogConflict):
        async with asyncio.timeout(20):
            await parts.rename("second")
    assert 5 <= rounds <= 15
