"""Workspaces: unique names, final archiving, and a default one that needs no record."""

import asyncio

import pytest

from efferent.common import workspaces
from efferent.common.api_keys import DEFAULT_WORKSPACE_ID
from efferent.common.domain.ids import Seed, WorkspaceId
from efferent.common.ports import LogConflict, LogUnreadable, RawRecord
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.workspaces import UnknownWorkspace, Workspace, WorkspaceRefused


@pytest.fixture
def log() -> InMemoryControlLog:
    return InMemoryControlLog(InMemoryStream())


async def create(log: InMemoryControlLog, name: str, seed: str) -> Workspace:
    return await workspaces.create_workspace(log, name=name, seed=Seed(seed * 24), clock=FakeClock())


async def test_created_workspaces_are_listed_and_loaded(log: InMemoryControlLog) -> None:
    first, second = await create(log, "team a", "a"), await create(log, "team b", "b")
    assert await workspaces.list_workspaces(log) == [first, second]
    assert await workspaces.load_workspace(log, first.id) == first
    assert first.id.startswith("wrkspc_")


@pytest.mark.parametrize("identifier", ["wrkspc_unknown", "nonsense", "wrkspc_*", ""])
async def test_an_unknown_workspace_is_not_there(log: InMemoryControlLog, identifier: str) -> None:
    await create(log, "team a", "a")
    assert await workspaces.load_workspace(log, WorkspaceId(identifier)) is None
    with pytest.raises(UnknownWorkspace, match="no workspace with this id"):
        await workspaces.archive_workspace(log, WorkspaceId(identifier), clock=FakeClock())


async def test_a_name_is_free_again_once_its_workspace_is_archived(log: InMemoryControlLog) -> None:
    first = await create(log, "team a", "a")
    with pytest.raises(WorkspaceRefused, match=f'"team a" exists already: {first.id}'):
        await create(log, "team a", "b")
    archived = await workspaces.archive_workspace(log, first.id, clock=FakeClock())
    assert archived.archived_at is not None
    assert await workspaces.archive_workspace(log, first.id, clock=FakeClock()) == archived
    assert (await create(log, "team a", "b")).name == "team a"


async def test_the_default_workspace_keeps_its_name_and_cannot_be_archived(log: InMemoryControlLog) -> None:
    with pytest.raises(WorkspaceRefused, match=DEFAULT_WORKSPACE_ID):
        await create(log, "Default", "a")
    with pytest.raises(WorkspaceRefused, match="cannot be archived"):
        await workspaces.archive_workspace(log, DEFAULT_WORKSPACE_ID, clock=FakeClock())


@pytest.mark.parametrize("name", ["", " ", "n" * 257])
async def test_a_name_of_a_wrong_length_is_refused(log: InMemoryControlLog, name: str) -> None:
    with pytest.raises(WorkspaceRefused, match="1 to 256 characters"):
        await create(log, name, "a")


async def test_one_workspace_more_than_there_may_be_is_refused(
    log: InMemoryControlLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "WORKSPACES_MAX", 2)
    await create(log, "1", "a")
    await create(log, "2", "b")
    with pytest.raises(WorkspaceRefused, match="at most 2"):
        await create(log, "3", "c")


async def test_of_two_that_ask_for_one_name_at_once_one_gets_it(log: InMemoryControlLog) -> None:
    results = await asyncio.gather(create(log, "same", "a"), create(log, "same", "b"), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Workspace", "WorkspaceRefused"]


async def test_a_log_that_always_conflicts_ends_the_try() -> None:
    class Contended(InMemoryControlLog):
        async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
            raise LogConflict(0)

    with pytest.raises(LogConflict):
        await create(Contended(InMemoryStream()), "name", "a")


def test_a_record_of_another_shape_is_unreadable() -> None:
    with pytest.raises(LogUnreadable, match="not a workspace"):
        workspaces.decode(RawRecord(sequence=7, subject="control.workspace.wrkspc_1", payload=b'{"v":2}', previous=0))
