"""What the gateway keeps in memory of work and workers has limits."""

import asyncio

from efferent.common.domain import work
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.timestamp import Timestamp, later
from efferent.common.jetstream.work_log import StoredWork
from efferent.common.testing.fake_clock import FakeClock
from efferent.gateway.work.index import WorkIndex
from efferent.gateway.work.workers import WORKERS_MAX, PollingWorkers
from services.gateway.tests.gateway_rig import Served

NOW = Timestamp("2026-01-01T00:00:00.000000Z")
ENVIRONMENT = EnvironmentId("env_a")


def item(number: int) -> WorkItem:
    new = work.NewWork(
        WorkId(f"work_{number}"), ENVIRONMENT, WorkspaceId("wrkspc_a"), SessionId(f"sesn_{number}"), 60, wanted_by=1
    )
    return work.enqueue(new, later(NOW, number))


def test_an_older_state_does_not_replace_a_newer_one() -> None:
    index = WorkIndex()
    claimed = work.claim(item(1), NOW, key_id=ApiKeyId("apikey_a"), token_hash="a", seen=0)
    index.apply(StoredWork(claimed, 2), NOW)
    index.apply(StoredWork(item(1), 1), NOW)
    assert index.find(ENVIRONMENT, WorkId("work_1")) == StoredWork(claimed, 2)
    assert [one.id for one in index.items(ENVIRONMENT, NOW)] == ["work_1"]


def test_stopped_items_are_forgotten_when_the_log_forgets_them() -> None:
    index = WorkIndex(stopped_kept_s=100)
    for number in range(10):
        moment = later(NOW, number * 20)
        index.apply(StoredWork(work.stop(item(number), moment, force=True), number + 1), moment)
    assert len(index.items(ENVIRONMENT, NOW)) == 6


def test_a_poll_looks_at_what_workers_lost_first() -> None:
    index = WorkIndex()
    for number in range(3):
        index.apply(StoredWork(item(number), number + 1), NOW)
    held = work.claim(item(7), NOW, key_id=ApiKeyId("apikey_a"), token_hash="a", seen=0)
    index.apply(StoredWork(held, 9), NOW)
    after = later(NOW, 6)
    assert [found.item.id for found in index.claimable(ENVIRONMENT, after, 5_000)] == [
        "work_7",
        "work_0",
        "work_1",
        "work_2",
    ]
    assert index.next_change(ENVIRONMENT, 5_000) == later(NOW, 5)


async def test_a_poll_that_waits_is_woken_by_a_change_of_its_environment_alone() -> None:
    index = WorkIndex()
    with index.watching(ENVIRONMENT) as mine, index.watching(EnvironmentId("env_b")) as other:
        index.apply(StoredWork(item(1), 1), NOW)
        async with asyncio.timeout(1):
            await mine.wait()
        assert not other.is_set()
    assert index._waiters == {}


async def test_only_so_many_workers_are_remembered(served: Served) -> None:
    clock = FakeClock()
    workers = PollingWorkers(served.connection, clock)
    for number in range(WORKERS_MAX + 5):
        await workers.polled(ENVIRONMENT, f"worker {number}")
    assert workers.count(ENVIRONMENT) == WORKERS_MAX
    clock.advance(30)
    assert workers.count(ENVIRONMENT) == 0
    await workers.polled(ENVIRONMENT, "x" * 10_000)
    assert workers.count(ENVIRONMENT) == 1
    assert workers._told_s.keys() == workers._seen_s.keys()


async def test_workers_that_poll_another_gateway_count_as_well(served: Served) -> None:
    here = PollingWorkers(served.connection, clock := served.gateway._clock)
    there = PollingWorkers(served.connection, clock)
    environment_id = EnvironmentId("env_shared")
    await here.start()
    await there.start()
    try:
        await there.polled(environment_id, "a worker")
        await served.connection.flush(20)
        assert (here.count(environment_id), there.count(environment_id)) == (1, 1)
    finally:
        await here.stop()
        await there.stop()
