"""Memory stores without HTTP, as a session's sandbox uses them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.control.memory import MEMORY, ContentMoved
from efferent.common.domain.control.memory_store import (
    ArchiveMemoryStore,
    CreateMemoryStore,
    DeleteMemoryStore,
    MemoryStoreCommand,
)
from efferent.common.domain.ids import MemoryStoreId, MemoryVersionId, SessionId, WorkspaceId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.memory import SessionActor, StoredMemory
from efferent.common.memory.store import MEMORY_STORES, Author, MemoryChange, MemoryStores, content_of
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.seeds import CountedSeeds

WORKSPACE = WorkspaceId("wrkspc_1")
STORE = MemoryStoreId("memstore_1")
AUTHOR = Author(Actor(WORKSPACE), SessionActor(session_id=SessionId("sesn_1")))


class Parts:
    """The stores over logs and blobs in memory."""

    def __init__(self) -> None:
        self.log = InMemoryControlLog(InMemoryStream())
        self.blobs = InMemoryBlobs()
        self.aggregates = Aggregates(self.log, LogSets(self.log), FakeClock(), Metrics(), write_deadline_s=1.0)
        self.stores = MemoryStores(self.aggregates, self.log, self.blobs, CountedSeeds())

    async def keys(self) -> list[str]:
        return sorted([entry.key async for entry in self.blobs.entries()])


@pytest.fixture
async def parts() -> Parts:
    made = Parts()
    await MEMORY_STORES.change(made.aggregates, AUTHOR.actor, STORE, CreateMemoryStore(STORE, "Notes"))
    return made


async def test_a_session_writes_and_reads_and_is_named_as_the_author(parts: Parts) -> None:
    second = await parts.stores.create(AUTHOR, STORE, "/b", "two")
    first = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    assert await parts.stores.memories(WORKSPACE, STORE) == [first, second]
    assert await parts.stores.read(WORKSPACE, STORE, first.id) == (first, "one")
    assert first.written_by == AUTHOR.by
    await parts.stores.delete(AUTHOR, STORE, first.id, first.content_sha256)
    assert await parts.stores.memories(WORKSPACE, STORE) == [second]
    with pytest.raises(NotFound, match="Memory not found"):
        await parts.stores.get(WORKSPACE, STORE, first.id)


async def test_a_refused_write_leaves_no_content(parts: Parts) -> None:
    kept = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    with pytest.raises(Conflict):
        await parts.stores.create(AUTHOR, STORE, "/a", "two")
    other = await parts.stores.create(AUTHOR, STORE, "/b", "b")
    with pytest.raises(Conflict):
        await parts.stores.update(AUTHOR, STORE, other.id, MemoryChange(path="/a"))
    assert await parts.keys() == sorted(
        f"{STORE}/versions/{version}" for version in (kept.memory_version_id, other.memory_version_id)
    )


async def test_a_rename_whose_content_keeps_moving_ends(parts: Parts) -> None:
    made = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    await parts.blobs.delete(f"{STORE}/versions/{made.memory_version_id}")
    with pytest.raises(ContentMoved):
        await parts.stores.update(AUTHOR, STORE, made.id, MemoryChange(path="/b"))
    assert await parts.stores.read(WORKSPACE, STORE, made.id) == (made, None)


async def test_an_archived_store_takes_nothing(parts: Parts) -> None:
    made = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    await MEMORY_STORES.change(parts.aggregates, AUTHOR.actor, STORE, ArchiveMemoryStore())
    with pytest.raises(InvalidRequest, match="archived"):
        await parts.stores.update(AUTHOR, STORE, made.id, MemoryChange(content="two"))
    with pytest.raises(InvalidRequest, match="archived"):
        await parts.stores.create(AUTHOR, STORE, "/b", "two")


Deed = Callable[[MemoryStores, StoredMemory], Awaitable[object]]
DEEDS: dict[str, Deed] = {
    "create": lambda stores, _: stores.create(AUTHOR, STORE, "/b", "two"),
    "change": lambda stores, made: stores.update(AUTHOR, STORE, made.id, MemoryChange(content="two")),
    "rename": lambda stores, made: stores.update(AUTHOR, STORE, made.id, MemoryChange(path="/b")),
    "delete": lambda stores, made: stores.delete(AUTHOR, STORE, made.id),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
@pytest.mark.parametrize(("end", "refusal"), [(ArchiveMemoryStore(), InvalidRequest), (DeleteMemoryStore(), NotFound)])
async def test_what_is_on_its_way_when_a_store_ends_does_not_land(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, deed: Deed, end: MemoryStoreCommand, refusal: type[Refused]
) -> None:
    made = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    append = parts.log.append

    async def somebody_is_quicker(*arguments: Any, **options: Any) -> int:
        monkeypatch.undo()
        await MEMORY_STORES.change(parts.aggregates, AUTHOR.actor, STORE, end)
        return await append(*arguments, **options)

    monkeypatch.setattr(parts.log, "append", somebody_is_quicker)
    with pytest.raises(refusal, match=r"Memory store (is archived|not found)\."):
        await deed(parts.stores, made)
    assert await parts.aggregates.children(MEMORY, WORKSPACE, STORE) == [made]
    assert await parts.keys() == [f"{STORE}/versions/{made.memory_version_id}"]


async def test_two_changes_of_one_memory_at_once_are_both_made(parts: Parts) -> None:
    made = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    changes = (MemoryChange(content="two"), MemoryChange(path="/b"), MemoryChange(content="two"))
    await asyncio.gather(*(parts.stores.update(AUTHOR, STORE, made.id, change) for change in changes))
    found, content = await parts.stores.read(WORKSPACE, STORE, made.id)
    assert (found.path, content) == ("/b", "two")


async def test_two_thousand_memories_and_not_one_more(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efferent.common.domain.control.memory.MEMORIES_MAX", 2)
    await parts.stores.create(AUTHOR, STORE, "/a", "")
    await parts.stores.create(AUTHOR, STORE, "/b", "")
    with pytest.raises(InvalidRequest, match="at most 2 memories"):
        await parts.stores.create(AUTHOR, STORE, "/c", "")


async def test_a_deleted_store_leaves_no_contents(parts: Parts) -> None:
    made = await parts.stores.create(AUTHOR, STORE, "/a", "one")
    await parts.stores.update(AUTHOR, STORE, made.id, MemoryChange(content="two"))
    await parts.blobs.put(f"{STORE}/versions/memver_left", b"left by a crash")
    await parts.stores.delete_store(AUTHOR.actor, STORE)
    assert await parts.keys() == []


async def test_contents_that_are_gone_are_none(parts: Parts) -> None:
    assert await parts.stores.content(STORE, MemoryVersionId("memver_none")) is None
    assert await parts.stores.contents(STORE, [MemoryVersionId("memver_none")]) == [None]


def test_a_content_is_text() -> None:
    with pytest.raises(InvalidRequest, match="content: must be valid Unicode text"):
        content_of("\ud800")
    assert MEMORY.deeds == ("created", "updated", "deleted")
