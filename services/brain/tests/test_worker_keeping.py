"""What a brain places before a call and keeps after a turn: once, and by somebody even when a brain dies."""

import asyncio
from typing import Any

import pytest

from efferent.brain.furnishing import PLACINGS_MAX, Furnisher
from efferent.brain.keeping import Keeper
from efferent.brain.placements import Collected, MemoryChange, MemoryPlace, Output, Placement, placement_of
from efferent.brain.ports import PlacementMissing, ToolCallDraft
from efferent.common.control.aggregates import Actor
from efferent.common.domain.attachments import AttachFile, AttachMemoryStore, Attachment
from efferent.common.domain.commands import AddFile, CreateSession
from efferent.common.domain.content import TextBlock
from efferent.common.domain.effects import RunTool
from efferent.common.domain.ids import (
    ClaimId,
    EnvironmentId,
    EventId,
    FileId,
    SessionId,
    SessionResourceId,
    ThreadId,
    WorkspaceId,
    derive,
)
from efferent.common.domain.react import pending
from efferent.common.domain.refusals import Conflict, NotFound
from efferent.common.domain.resources.environment import CloudConfig
from efferent.common.domain.resources.file import File
from efferent.common.domain.resources.session_resource import StoredContent
from efferent.common.domain.state import Idle, SessionState
from efferent.common.ports import LogUnavailable
from efferent.common.testing.specification import agent, message, toolset
from tests.support.brain_stage import DEADLINE_S, SESSION, Stage

WORKSPACE = WorkspaceId("wrkspc_1")
TEXT = TextBlock(text="hi")
BASH = ToolCallDraft("bash", {"command": "true"})
REPORT = Output("deep/report.md", "stamp-1", 5)


def ended(state: SessionState) -> bool:
    return isinstance(state.status, Idle) and state.status.stop_reason is not None and not pending(state)


async def acknowledged(stage: Stage) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while stage.durable.pending or stage.durable.due:
            await stage.acknowledged.wait()
            stage.acknowledged.clear()


async def create(stage: Stage, *resources: Attachment) -> None:
    await stage.client(
        CreateSession(
            session_id=SESSION,
            workspace_id=WORKSPACE,
            primary_thread_id=ThreadId("sthr_1"),
            agent=agent(toolset()),
            environment_id=EnvironmentId("env_1"),
            environment_config=CloudConfig(),
            resources=resources,
        )
    )


async def tool_turn(stage: Stage) -> None:
    """A turn with one call of bash, up to its end."""
    stage.model.answer(BASH)
    await stage.send(message())
    state = await stage.until(lambda state: bool(state.calls))
    stage.model.answer(TEXT)
    stage.hands.finish(state.calls[0].id)
    await stage.until(ended)


async def output(stage: Stage, kept: Output = REPORT) -> File:
    return await stage.files.get(WORKSPACE, FileId(derive("file_", SESSION, "output", kept.path, kept.stamp)))


def file(name: str) -> AttachFile:
    content = StoredContent(blob_key=f"{SESSION}/files/{name}", size_bytes=1)
    return AttachFile(SessionResourceId(f"sesrsc_{name}"), f"file_{name}", f"/mnt/session/uploads/{name}", content)


def store(slug: str = "notes") -> AttachMemoryStore:
    return AttachMemoryStore("memstore_1", "read_write", None, slug, "", f"/mnt/memory/{slug}")


async def test_outputs_become_files_before_the_input_is_acknowledged(stage: Stage) -> None:
    stage.hands.made, stage.hands.contents = Collected((REPORT,)), {REPORT.path: b"first"}
    stage.hands.may_collect.clear()
    stage.brain()
    await create(stage)
    await tool_turn(stage)
    assert stage.durable.pending or stage.durable.due
    stage.hands.may_collect.set()
    await acknowledged(stage)
    kept = await output(stage)
    assert (kept.filename, kept.size_bytes, kept.downloadable) == ("report.md", 5, True)
    assert stage.hands.made == Collected()


async def test_an_output_that_a_client_deleted_does_not_come_back(stage: Stage) -> None:
    """The brain that made a file of it died before it could tell the hands."""
    stage.brain()
    await create(stage)
    stage.hands.made, stage.hands.contents = Collected((REPORT,)), {REPORT.path: b"first"}
    await tool_turn(stage)
    await acknowledged(stage)
    await stage.files.delete(Actor(WORKSPACE), (await output(stage)).id)
    stage.hands.made = Collected((REPORT,))
    await tool_turn(stage)
    await acknowledged(stage)
    with pytest.raises(NotFound):
        await output(stage)
    assert stage.hands.made == Collected(), "it is settled"
    assert [entry.key async for entry in stage.blobs.entries(f"{SESSION}/files/")] == []


async def test_a_turn_without_tool_calls_asks_the_hands_nothing(stage: Stage) -> None:
    stage.brain()
    await create(stage)
    stage.model.answer(TEXT)
    await stage.send(message())
    await stage.until(ended)
    await acknowledged(stage)
    assert stage.hands.collections == 0


async def test_what_a_brain_left_when_it_died_is_kept_by_another_one(stage: Stage) -> None:
    stage.hands.made, stage.hands.contents = Collected((REPORT,)), {REPORT.path: b"first"}
    stage.hands.may_collect.clear()
    roster = stage.brain()
    await create(stage)
    await tool_turn(stage)
    await roster.drain()
    with pytest.raises(NotFound):
        await output(stage)
    stage.hands.may_collect.set()
    stage.brain("brain_2")
    async with asyncio.timeout(DEADLINE_S):
        await stage.hands.settled.wait()
    assert (await output(stage)).size_bytes == 5


async def test_what_tools_made_before_a_brain_died_in_the_turn_is_kept_by_another_one(stage: Stage) -> None:
    stage.hands.made, stage.hands.contents = Collected((REPORT,)), {REPORT.path: b"first"}
    roster = stage.brain()
    await create(stage)
    stage.model.answer(BASH)
    await stage.send(message())
    state = await stage.until(lambda state: bool(state.calls))
    stage.hands.finish(state.calls[0].id)
    await stage.until(lambda state: not state.calls)
    await roster.drain()
    stage.model.answer(TEXT)
    stage.brain("brain_2")
    await stage.until(ended)
    await acknowledged(stage)
    assert (await output(stage)).size_bytes == 5


async def test_new_input_does_not_wait_for_what_is_being_kept(stage: Stage) -> None:
    stage.hands.may_collect.clear()
    stage.brain()
    await create(stage)
    await tool_turn(stage)
    await tool_turn(stage)
    assert stage.hands.collections == 1
    stage.hands.may_collect.set()
    await acknowledged(stage)
    assert stage.hands.collections == 2, "the second turn had tool calls too"


async def test_outputs_of_a_session_that_is_being_deleted_are_not_kept(stage: Stage) -> None:
    stage.hands.made, stage.hands.contents = Collected((REPORT,)), {REPORT.path: b"first"}
    stage.brain()
    await create(stage)
    stage.deleted.add(SESSION)
    await tool_turn(stage)
    await acknowledged(stage)
    with pytest.raises(NotFound):
        await output(stage)
    assert [entry.key async for entry in stage.blobs.entries(f"{SESSION}/files/")] == []


async def test_an_output_that_changes_while_it_is_read_is_found_again(stage: Stage) -> None:
    stage.hands.made = Collected((REPORT,))
    stage.brain()
    await create(stage)
    await tool_turn(stage)
    await acknowledged(stage)
    assert stage.hands.made.outputs == (REPORT,), "it was not settled"
    later = Output(REPORT.path, "stamp-2", 6)
    stage.hands.made, stage.hands.contents = Collected((later,)), {REPORT.path: b"second"}
    await tool_turn(stage)
    await acknowledged(stage)
    assert (await output(stage, later)).size_bytes == 6


async def test_files_are_placed_once_and_again_when_they_change(stage: Stage) -> None:
    stage.brain()
    await create(stage, file("a"))
    await tool_turn(stage)
    await tool_turn(stage)
    assert [[it.path for it in placed.files] for placed in stage.hands.prepared] == [["/mnt/session/uploads/a"]]
    await stage.client(AddFile(file("b")))
    await tool_turn(stage)
    assert [it.path for it in stage.hands.prepared[-1].files] == ["/mnt/session/uploads/a", "/mnt/session/uploads/b"]
    assert len(stage.hands.prepared) == 2


async def test_memory_is_listed_once_a_turn_and_its_changes_are_written(stage: Stage) -> None:
    stage.memories.stores["memstore_1"] = (MemoryPlace("/a.md", "k1", "sha1"),)
    stage.brain()
    await create(stage, store())
    stage.model.answer(BASH, BASH)
    await stage.send(message())
    state = await stage.until(lambda state: len(state.calls) == 2)
    stage.model.answer(TEXT)
    change = MemoryChange("/mnt/memory/notes", "/b.md", None, b"new")
    stage.hands.made = Collected(memories=(change,))
    for call in state.calls:
        stage.hands.finish(call.id)
    await stage.until(ended)
    await acknowledged(stage)
    assert stage.memories.listings == 1
    assert stage.memories.written == [("memstore_1", change)]
    stage.hands.made = Collected()
    stage.memories.stores["memstore_1"] += (MemoryPlace("/b.md", "k2", "sha2"),)
    await tool_turn(stage)
    assert [len(placed.stores[0].memories) for placed in stage.hands.prepared] == [1, 2]


async def test_a_sandbox_that_fell_behind_its_memory_is_brought_up_to_date_before_it_is_looked_at(
    stage: Stage,
) -> None:
    change = MemoryChange("/mnt/memory/notes", "/b.md", None, b"new")
    stage.hands.made = Collected(memories=(change,))
    stage.hands.may_collect.clear()
    stage.brain()
    await create(stage, store())
    await tool_turn(stage)
    await tool_turn(stage)  # ended before anything of the first one was kept
    prepared = len(stage.hands.prepared)
    stage.memories.stores["memstore_1"] = (MemoryPlace("/b.md", "k2", "sha2"),)
    stage.hands.may_collect.set()
    await acknowledged(stage)
    assert stage.hands.collections == 2
    (up_to_date,) = stage.hands.prepared[prepared:]
    assert [memory.path for memory in up_to_date.stores[0].memories] == ["/b.md"]


async def test_a_brain_that_knows_nothing_of_a_sandbox_brings_it_up_to_date_before_it_looks(stage: Stage) -> None:
    """The brain before it may have died between writing a memory and telling the sandbox of it."""
    change = MemoryChange("/mnt/memory/notes", "/b.md", None, b"new")
    stage.hands.made = Collected(memories=(change,))
    roster = stage.brain()
    await create(stage, store())
    await tool_turn(stage)
    await acknowledged(stage)
    await roster.drain()
    prepared, stage.hands.made = len(stage.hands.prepared), Collected()
    stage.brain("brain_2")
    await tool_turn(stage)
    await acknowledged(stage)
    assert stage.hands.collections == 2
    assert len(stage.hands.prepared) == prepared + 1
    await tool_turn(stage)
    await acknowledged(stage)
    assert len(stage.hands.prepared) == prepared + 1, "now it knows"


async def test_a_placement_from_before_a_change_of_memory_does_not_pass_for_one_from_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(stage, store())
    state, _ = await stage.state()
    assert state is not None
    furnisher = Furnisher(stage.hands, stage.memories)
    prepare = stage.hands.prepare

    async def meanwhile_kept(session_id: SessionId, placement: Placement) -> None:
        furnisher.fall_behind(session_id)
        await prepare(session_id, placement)

    with monkeypatch.context() as patch:
        patch.setattr(stage.hands, "prepare", meanwhile_kept)
        await furnisher.refresh(state)
    assert furnisher.is_behind(state)
    await furnisher.refresh(state)
    assert not furnisher.is_behind(state)


async def test_after_a_memory_that_could_not_be_written_the_sandbox_is_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [MemoryChange("/mnt/memory/notes", f"/{name}.md", None, b"new") for name in "ab"]
    stage.hands.made = Collected(memories=tuple(changes))
    await create(stage, store())
    state, _ = await stage.state()
    assert state is not None
    furnisher = Furnisher(stage.hands, stage.memories)
    await furnisher.refresh(state)
    write = stage.memories.write

    async def write_first(*wanted: Any) -> None:
        if stage.memories.written:
            raise LogUnavailable("gone")
        await write(*wanted)

    monkeypatch.setattr(stage.memories, "write", write_first)
    await Keeper(stage.hands, furnisher, stage.files, stage.memories, nothing_deleted).keep(state)
    assert [change for _, change in stage.memories.written] == changes[:1]
    assert furnisher.is_behind(state)


async def nothing_deleted(_session_id: SessionId) -> bool:
    return False


async def test_a_memory_that_the_store_refuses_holds_nothing_up(stage: Stage) -> None:
    stage.memories.refusal = Conflict("somebody was quicker")
    stage.hands.made = Collected(memories=(MemoryChange("/mnt/memory/notes", "/a.md", None, b"x"),))
    stage.brain()
    await create(stage, store())
    await tool_turn(stage)
    await acknowledged(stage)
    assert stage.memories.written == []


async def test_hands_that_lose_every_placement_are_given_up(stage: Stage) -> None:
    await create(stage, file("a"))
    state, _ = await stage.state()
    assert state is not None

    stage.hands.is_forgetful = True
    furnisher = Furnisher(stage.hands, stage.memories)
    with pytest.raises(PlacementMissing):
        await furnisher.execute(state, ClaimId("claim_1"), RunTool(EventId("sevt_1"), "bash", {}))
    assert len(stage.hands.prepared) == PLACINGS_MAX - 1


async def test_a_placement_s_name_says_all_that_is_in_it(stage: Stage) -> None:
    await create(stage)
    bare, _ = await stage.state()
    assert bare is not None
    assert placement_of(bare, ()) == Placement()
    await stage.client(AddFile(file("a")))
    one, _ = await stage.state()
    await stage.client(AddFile(file("b")))
    two, _ = await stage.state()
    assert one is not None
    assert two is not None
    assert len({placement_of(bare, ()).name, placement_of(one, ()).name, placement_of(two, ()).name}) == 3
