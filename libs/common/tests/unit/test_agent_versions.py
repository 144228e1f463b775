"""One version of an agent: found among any number of others, with few reads, whatever else the log holds."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.control.agents import AGENTS, READ_WHOLE_MAX, NoSuchVersion, get_agent
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.control.agent import AgentFields, ArchiveAgent, CreateAgent, UpdateAgent
from efferent.common.domain.control.model_choice import ModelChoice
from efferent.common.domain.ids import AgentId, WorkspaceId
from efferent.common.domain.model_catalog import traits_of
from efferent.common.ports import RawRecord
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream

HERE, THERE = WorkspaceId("wrkspc_a"), WorkspaceId("wrkspc_b")
MODEL = ModelChoice(traits_of("offline/demo"), "offline/demo")
ONE, OTHER = AgentId("agent_1"), AgentId("agent_2")


class CountingLog(InMemoryControlLog):
    """Counts the records that are read."""

    def __init__(self, stream: InMemoryStream) -> None:
        super().__init__(stream)
        self.reads = 0

    async def next(self, subject: str, *, after: int) -> RawRecord | None:
        self.reads += 1
        return await super().next(subject, after=after)

    async def read(self, pattern: str, *, after: int = 0) -> AsyncGenerator[RawRecord]:
        async for raw in super().read(pattern, after=after):
            self.reads += 1
            yield raw


class House:
    """Two agents in one log."""

    def __init__(self) -> None:
        self.log = CountingLog(InMemoryStream())
        self.aggregates = Aggregates(self.log, LogSets(self.log), FakeClock(), Metrics(), write_deadline_s=1.0)

    async def change(self, agent_id: AgentId, version: int) -> None:
        """Make the agent, or its next version."""
        name = f"version {version}"
        command = (
            CreateAgent(agent_id, name, MODEL, AgentFields()) if version == 1 else UpdateAgent(AgentFields(name=name))
        )
        await AGENTS.change(self.aggregates, Actor(HERE), agent_id, command)

    async def archive(self, agent_id: AgentId) -> None:
        await AGENTS.change(self.aggregates, Actor(HERE), agent_id, ArchiveAgent())


@given(st.lists(st.sampled_from((ONE, OTHER)), min_size=1, max_size=60), st.booleans())
def test_every_version_is_found_and_no_other(changes: list[AgentId], is_archived: bool) -> None:
    async def check() -> None:
        house, count = House(), dict.fromkeys((ONE, OTHER), 0)
        for agent_id in changes:
            count[agent_id] += 1
            await house.change(agent_id, count[agent_id])
        if is_archived and count[ONE]:
            await house.archive(ONE)
        for agent_id, newest in count.items():
            for version in range(1, newest + 1):
                found = await house.aggregates.at_version(AGENTS.kind, HERE, agent_id, version)
                assert found is not None
                assert (found.version, found.name) == (version, f"version {version}")
                shown = await get_agent(house.aggregates, HERE, agent_id, version)
                assert (shown.archived_at is not None) == (is_archived and agent_id == ONE)
            for version in (0, newest + 1):
                assert await house.aggregates.at_version(AGENTS.kind, HERE, agent_id, version) is None
                assert await house.aggregates.at_version(AGENTS.kind, THERE, agent_id, 1) is None

    asyncio.run(check())


async def test_one_of_a_thousand_versions_is_found_with_few_reads() -> None:
    house = House()
    for version in range(1, 1_001):
        await house.change(ONE, version)
    house.log.reads = 0
    found = await get_agent(house.aggregates, HERE, ONE, 17)
    assert found.name == "version 17"
    assert house.log.reads <= 10


@pytest.mark.parametrize("newest", [READ_WHOLE_MAX, READ_WHOLE_MAX + 1])
async def test_both_ways_of_finding_a_version_agree(newest: int) -> None:
    house = House()
    for version in range(1, newest + 1):
        await house.change(ONE, version)
    for version in range(1, newest + 1):
        assert (await get_agent(house.aggregates, HERE, ONE, version)).version == version
    for version in (0, newest + 1):
        with pytest.raises(NoSuchVersion):
            await get_agent(house.aggregates, HERE, ONE, version)
