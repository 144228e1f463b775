"""The sweep: what a crash left behind goes after a day; what is named stays, and so does what is not understood."""

import pytest

from efferent.common.blobs.sweep import PAUSED_KEY, OtherLog
from efferent.common.codec import RECORD_BYTES_MAX
from efferent.common.domain.control.memory_store import CreateMemoryStore, DeleteMemoryStore
from efferent.common.domain.ids import MemoryStoreId, SessionId, WorkspaceId
from efferent.common.domain.record import Record
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.memory import SessionActor
from efferent.common.memory.store import MEMORY_STORES, Author, MemoryChange
from efferent.common.skills.package import UploadedPart
from efferent.common.testing.records import message_record
from efferent.common.testing.seeds import CountedSeeds
from libs.common.tests.blobs.store_rig import ACTOR, DAY_S, SESSION, Stores
from libs.common.tests.files.chunked import chunked


def large_record() -> Record:
    return message_record(CountedSeeds("records"), "x" * RECORD_BYTES_MAX)


@pytest.fixture
def stores() -> Stores:
    return Stores()


async def test_bytes_of_an_upload_that_was_never_recorded_go_after_a_day(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    stores.clock.advance(DAY_S - 1)
    assert (await stores.sweep().run()).deleted == 0
    assert await stores.keys() == [f"{stored.id}/content"]
    stores.clock.advance(1)
    assert (await stores.sweep().run()).deleted == 1
    assert await stores.keys() == []


async def test_files_copies_outputs_and_skills_stay_however_old(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None)
    await stores.session_log.append(SESSION, "in", message_record(CountedSeeds("records"), "x"), expected=0)
    await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    await stores.files.add_output(ACTOR, SESSION, "out.txt", chunked(b"made"))
    skill_md = UploadedPart("x/SKILL.md", b"---\nname: x\ndescription: d\n---\n")
    await stores.skills.create(ACTOR, [skill_md], display_name=None)
    before = await stores.keys()
    stores.clock.advance(100 * DAY_S)
    assert (await stores.sweep().run()).deleted == 0
    assert await stores.keys() == before
    assert len(before) == 4


async def test_files_of_a_session_that_never_came_go_after_a_day(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None)
    copy = await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    stores.clock.advance(DAY_S - 1)
    assert (await stores.sweep().run()).deleted == 0
    stores.clock.advance(1)
    assert (await stores.sweep().run()).deleted == 1
    assert await stores.keys() == [file.blob_key]
    with pytest.raises(NotFound):
        await stores.files.get(ACTOR.workspace_id, copy.id)


async def test_a_copy_that_its_session_has_no_more_goes(stores: Stores) -> None:
    await stores.session_log.append(SESSION, "in", large_record(), expected=0)
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None)
    kept = await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    removed = await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    output = await stores.files.add_output(ACTOR, SESSION, "out.txt", chunked(b"made"))
    asked: list[SessionId] = []

    async def attached(session_id: SessionId, _workspace_id: WorkspaceId) -> frozenset[str] | None:
        asked.append(session_id)
        return frozenset({kept.id})

    assert (await stores.sweep().run(attached)).deleted == 0
    assert asked == [], "it may be about to be attached"
    stores.clock.advance(DAY_S)
    assert (await stores.sweep().run(attached)).deleted == 1
    assert set(asked) == {SESSION}
    assert await stores.keys(f"{SESSION}/files/") == sorted([kept.blob_key, output.blob_key])
    with pytest.raises(NotFound):
        await stores.files.get(ACTOR.workspace_id, removed.id)
    assert (await stores.sweep().run(attached)).deleted == 0


async def test_of_memory_stores_it_keeps_what_a_record_names_and_nothing_of_a_deleted_one(stores: Stores) -> None:
    author = Author(ACTOR, SessionActor(session_id=SESSION))
    kept, gone = MemoryStoreId("memstore_a"), MemoryStoreId("memstore_b")
    for store_id in (kept, gone):
        await MEMORY_STORES.change(stores.aggregates, ACTOR, store_id, CreateMemoryStore(store_id, "Notes"))
        made = await stores.memories.create(author, store_id, "/a", "one")
        await stores.memories.update(author, store_id, made.id, MemoryChange(content="two"))
    named = await stores.keys(f"{kept}/")
    assert len(named) == 2
    await stores.blobs.put(f"{kept}/versions/memver_left", b"left by a crash")
    await MEMORY_STORES.change(stores.aggregates, ACTOR, gone, DeleteMemoryStore())  # and died before its contents
    assert (await stores.sweep().run()).deleted == 0
    stores.clock.advance(DAY_S)
    assert (await stores.sweep().run()).deleted == 3
    assert await stores.keys() == named


async def test_of_a_memory_store_with_a_record_that_cannot_be_read_all_is_kept(stores: Stores) -> None:
    await stores.blobs.put("memstore_a/versions/memver_left", b"?")
    await stores.control_log.append("control.memory_store.memstore_a.memstore_a", b"not a record", expected=0)
    stores.clock.advance(DAY_S)
    assert (await stores.sweep().run()).deleted == 0


async def test_bytes_that_a_crash_kept_from_being_deleted_go(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None)
    part = UploadedPart("x/SKILL.md", b"---\nname: x\ndescription: d\n---\n")
    skill = await stores.skills.create(ACTOR, [part], display_name=None)
    stores.blobs.available = False
    with pytest.raises(OSError, match="a test says so"):
        await stores.files.delete(ACTOR, file.id)
    with pytest.raises(OSError, match="a test says so"):
        await stores.skills.delete_version(ACTOR, skill.id, skill.versions[0].id)
    stores.blobs.available = True
    assert len(await stores.keys()) == 2
    stores.clock.advance(DAY_S)
    assert (await stores.sweep().run()).deleted == 2


async def test_large_records_stay_and_those_that_were_never_appended_go(stores: Stores) -> None:
    record = large_record()
    await stores.session_log.append(SESSION, "in", record, expected=0)
    await stores.blobs.put(f"{SESSION}/records/rec_lost", b"x")
    stores.clock.advance(DAY_S)
    assert (await stores.sweep().run()).deleted == 1
    assert await stores.keys() == [f"{SESSION}/records/{record.id}"]


async def test_snapshots_stay_as_long_as_their_session(stores: Stores) -> None:
    await stores.session_log.append(SESSION, "in", large_record(), expected=0)
    await stores.blobs.put(f"{SESSION}/snapshots/v1", b"x")
    await stores.blobs.put("sesn_gone/snapshots/v1", b"x")
    stores.clock.advance(DAY_S)
    await stores.sweep().run()
    assert await stores.keys(f"{SESSION}/snapshots/") == [f"{SESSION}/snapshots/v1"]
    assert await stores.keys("sesn_gone/") == []


async def test_what_is_not_understood_is_left_alone(stores: Stores) -> None:
    keys = ["dream_a/x", "file_a/other", "sesn_a/checkpoints/1", "skill_a/x"]
    for key in keys:
        await stores.blobs.put(key, b"x")
    stores.clock.advance(DAY_S)
    await stores.sweep().run()
    assert await stores.keys() == keys


async def test_a_file_whose_time_is_over_goes_with_its_bytes_at_once(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None, expires_in_s=3_600)
    stores.clock.advance(3_599)
    assert (await stores.sweep().run()).expired == 0
    stores.clock.advance(1)
    assert (await stores.sweep().run()).expired == 1
    assert await stores.keys() == []
    with pytest.raises(NotFound, match=r"File 'file_\w+' has expired\.") as caught:
        await stores.files.get(ACTOR.workspace_id, file.id)
    assert caught.value.code == "file_expired"
    assert (await stores.sweep().run()).expired == 0


async def test_blobs_of_another_log_are_never_swept(stores: Stores) -> None:
    await stores.sweep("the log that was lost").run()
    await stores.files.receive(chunked(b"data"))
    stores.clock.advance(DAY_S)
    with pytest.raises(OtherLog, match="the blobs belong to another log: nothing is swept"):
        await stores.sweep().run()
    assert len(await stores.keys()) == 1


async def test_nothing_is_swept_while_a_backup_reads(stores: Stores) -> None:
    await stores.blobs.put("file_a/content", b"x")
    stores.clock.advance(DAY_S)
    await stores.blobs.put(PAUSED_KEY, b"")
    assert (await stores.sweep().run()).deleted == 0
    stores.clock.advance(DAY_S)  # a backup that died does not stop the sweep for ever
    assert (await stores.sweep().run()).deleted == 1


async def test_a_session_that_was_deleted_takes_its_files_along(stores: Stores) -> None:
    stored = await stores.files.receive(chunked(b"data"))
    file = await stores.files.upload(ACTOR, stored, filename="a.txt", mime_type=None)
    copy = await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    other = await stores.files.copy_for_session(ACTOR, file.id, SessionId("sesn_ab"))
    for _ in range(2):
        await stores.files.delete_of_session(ACTOR.workspace_id, SESSION)
    assert await stores.keys() == [file.blob_key, other.blob_key]
    with pytest.raises(NotFound, match="File not found"):
        await stores.files.get(ACTOR.workspace_id, copy.id)
