"""Sets that are kept between reads: always what the log says, and only what is new is read."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.folded_sets import FoldedSets
from efferent.common.control.kinds import set_pattern
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.control.memory_store import MEMORY_STORE, CreateMemoryStore
from efferent.common.domain.ids import MemoryStoreId, WorkspaceId
from efferent.common.domain.resources.memory import ApiActor, StoredMemory
from efferent.common.memory.store import MEMORY_STORES, Author, MemoryChange, MemoryStores
from efferent.common.ports import LogUnreadable, RawRecord
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.seeds import CountedSeeds

AUTHOR = Author(Actor(WorkspaceId("wrkspc_1")), ApiActor(api_key_id="apikey_1"))
ONE, TWO = MemoryStoreId("memstore_1"), MemoryStoreId("memstore_2")


class CountingLog(InMemoryControlLog):
    """Counts the records that were read."""

    count = 0

    async def read(self, pattern: str, *, after: int = 0) -> AsyncGenerator[RawRecord]:
        """See the port."""
        async for raw in super().read(pattern, after=after):
            self.count += 1
            await asyncio.sleep(0)  # others may come in between
            yield raw


class Parts:
    """Two stores in one log."""

    def __init__(self) -> None:
        self.log = CountingLog(InMemoryStream())
        self.aggregates = Aggregates(self.log, LogSets(self.log), FakeClock(), Metrics(), write_deadline_s=1.0)
        self.stores = MemoryStores(self.aggregates, self.log, InMemoryBlobs(), CountedSeeds())

    async def create(self, path: str, store_id: MemoryStoreId = ONE) -> StoredMemory:
        return await self.stores.create(AUTHOR, store_id, path, "x")


@pytest.fixture
async def parts() -> Parts:
    made = Parts()
    for store_id in (ONE, TWO):
        await MEMORY_STORES.change(made.aggregates, AUTHOR.actor, store_id, CreateMemoryStore(store_id, "Notes"))
    return made


async def paths(sets: FoldedSets, store_id: MemoryStoreId = ONE) -> list[str]:
    newest, _ = await sets.newest(set_pattern(MEMORY_STORE, store_id))
    return [record.data.path for record in newest.values() if isinstance(record.data, StoredMemory)]


async def test_only_what_is_new_is_read_again(parts: Parts) -> None:
    sets = FoldedSets(parts.log)
    first, second = await parts.create("/a"), await parts.create("/b")
    assert await paths(sets) == ["/a", "/b"]
    parts.log.count = 0
    assert await paths(sets) == ["/a", "/b"]
    assert parts.log.count == 0
    await parts.stores.update(AUTHOR, ONE, first.id, MemoryChange(path="/c"))
    await parts.stores.delete(AUTHOR, ONE, second.id)
    parts.log.count = 0
    assert await paths(sets) == ["/c"]
    assert parts.log.count == 2


async def test_the_sequence_is_that_of_the_set(parts: Parts) -> None:
    sets = FoldedSets(parts.log)
    await parts.create("/a")
    _, before = await sets.newest(set_pattern(MEMORY_STORE, ONE))
    await parts.create("/a", TWO)
    assert (await sets.newest(set_pattern(MEMORY_STORE, ONE)))[1] == before
    assert (await sets.newest(set_pattern(MEMORY_STORE, TWO)))[1] > before
    assert await sets.newest(set_pattern(MEMORY_STORE, "memstore_none")) == ({}, 0)


async def test_what_was_given_away_does_not_change_any_more(parts: Parts) -> None:
    sets = FoldedSets(parts.log)
    found, _ = await sets.newest(set_pattern(MEMORY_STORE, ONE))
    await parts.create("/a")
    await paths(sets)
    assert len(found) == 1


async def test_readers_at_once_see_the_same(parts: Parts) -> None:
    sets = FoldedSets(parts.log)
    memory = await parts.create("/0")
    for number in range(1, 10):
        memory = await parts.stores.update(AUTHOR, ONE, memory.id, MemoryChange(path=f"/{number}"))
    assert await asyncio.gather(*(paths(sets) for _ in range(5))) == [["/9"]] * 5


async def test_what_is_kept_has_a_limit(parts: Parts) -> None:
    sets = FoldedSets(parts.log, records_max=4)
    await parts.create("/a")
    await parts.create("/b", TWO)
    await paths(sets)
    await paths(sets, TWO)
    parts.log.count = 0
    assert (await paths(sets, TWO), parts.log.count) == (["/b"], 0)
    assert (await paths(sets), parts.log.count) == (["/a"], 2), "the first made room and is read anew"


async def test_a_record_of_an_unknown_shape_is_said_each_time(parts: Parts) -> None:
    sets = FoldedSets(parts.log)
    await parts.log.append(f"control.memory_store.{ONE}.mem_new", b"{}", expected=0)
    for _ in range(2):
        with pytest.raises(LogUnreadable, match="mem_new"):
            await paths(sets)
