"""The projection: rebuilt from the log whenever its file is worth nothing, never wrong after a restart."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain.commands import DeleteSession
from efferent.common.domain.events import AgentToolUse
from efferent.common.domain.events.agent import Permission
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import StoredRecord
from efferent.common.jetstream import subjects
from efferent.common.jetstream.subjects import parse_session
from efferent.common.ports import SessionLog
from efferent.common.record_folding import sort_record
from efferent.common.state_blob import dump_state, load_state
from efferent.gateway.errors import Overloaded
from efferent.gateway.sessions import index_writer
from efferent.gateway.sessions import projection as session_projection
from efferent.gateway.sessions.event_index import EventIndex
from efferent.gateway.sessions.projected import Changes, Deletion, EventQuery, Folded, SessionQuery
from efferent.gateway.sessions.projection import CommittedRecord, SessionProjection
from efferent.gateway.sessions.public_events import Position
from efferent.gateway.sessions.services import INDEX_FILE, SessionServices
from efferent.gateway.sessions.states import SessionStates
from services.gateway.tests.session_rig import WAIT_S, WORKSPACE, Make, Rig, build, message, rig


def called(permission: Permission) -> Make:
    """A call of a tool."""
    return lambda id, at: AgentToolUse(
        id=id, name="bash", input={"a": [1, None]}, evaluated_permission=permission, processed_at=at
    )


def file_of(made: Rig) -> Path:
    return made.folder / "gateway" / INDEX_FILE


async def restarted(made: Rig) -> SessionServices:
    """The same services again, as after a restart of the process."""
    await made.services.stop()
    made.services = build(made.connection, made.folder).services
    await made.services.start()
    return made.services


async def all_sessions(services: SessionServices) -> list[SessionId]:
    await services.reach_end()
    found = await services.projection.sessions(SessionQuery(WORKSPACE, "asc", 100, include_archived=True))
    return [folded.state.session_id for folded in found]


async def all_positions(made: Rig, session_id: SessionId) -> list[Position]:
    last = await made.log.last_sequence(session_id)
    await made.services.projection.reach(last)
    return list(await made.services.projection.positions(EventQuery(session_id, None, "asc", 1000, until=last)))


async def test_states_and_positions_survive_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("one"))
        brain = made.brain(session_id)
        await brain.answer("first")
        before = await all_positions(made, session_id)
        services = await restarted(made)
        assert await all_positions(made, session_id) == before
        assert services.projection.progress.applied == await services.feed.last_sequence()
        await made.create_input(session_id, "two")
        await brain.answer("second")
        assert len(await all_positions(made, session_id)) == 2 * len(before)
        assert (await services.store.load(session_id, WORKSPACE)).state == brain.state


async def test_records_that_came_while_it_was_down_are_made_up_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("one"))
        await made.services.reach_end()
        await made.services.stop()
        await made.brain(session_id).answer("meanwhile")
        made.services = build(made.connection, made.folder).services
        await made.services.start()
        assert len(await all_positions(made, session_id)) == 9


@pytest.mark.parametrize("damage", ["missing", "no database", "truncated", "other code"])
async def test_a_file_that_is_worth_nothing_is_rebuilt(tmp_path: Path, damage: str) -> None:
    async with rig(tmp_path) as made:
        sessions = [await made.create(message("one")) for _ in range(3)]
        for session_id in sessions:
            await made.brain(session_id).answer("first")
        before = await all_positions(made, sessions[0])
        await made.services.stop()
        path = file_of(made)
        match damage:
            case "missing":
                path.unlink()
            case "no database":
                path.write_bytes(b"nonsense" * 1000)
            case "truncated":
                path.write_bytes(path.read_bytes()[:50])
            case _:  # written by other code, or of another stream
                with sqlite3.connect(path) as connection:
                    connection.execute("UPDATE meta SET value = value || 'x' WHERE key = 'version'")
                    connection.execute("DELETE FROM sessions")
                connection.close()
        made.services = build(made.connection, made.folder).services
        await made.services.start()
        assert await all_sessions(made.services) == sessions
        assert await all_positions(made, sessions[0]) == before


async def test_a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        kept, gone = await made.create(), await made.create()
        await made.services.store.execute(gone, WORKSPACE, DeleteSession())
        await made.services.reach_end()
        assert await made.log.last_sequence(gone) > 0
        services = await restarted(made)
        async with asyncio.timeout(WAIT_S):
            await services.swept.wait()
        assert await made.log.last_sequence(gone) == 0
        assert await made.control_log.last(subjects.control("session", gone)) is not None
        await services.projection.settle()
        assert await services.projection.deletions() == []
        assert await all_sessions(services) == [kept]


async def test_a_deletion_that_fails_for_an_unknown_reason_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efferent.gateway.sessions.services.SWEEP_INTERVAL_S", 0.01)
    async with rig(tmp_path) as made:
        gone = await made.create()
        await made.services.store.execute(gone, WORKSPACE, DeleteSession())
        await made.services.reach_end()
        await made.services.stop()
        services = made.services = build(made.connection, made.folder).services
        delete, failures = LocalFolderBlobs.delete, [OSError("the disk is not well")]

        async def fail_once(blobs: LocalFolderBlobs, prefix: str) -> None:
            if failures:
                raise failures.pop()
            await delete(blobs, prefix)

        monkeypatch.setattr(LocalFolderBlobs, "delete", fail_once)
        await services.start()
        async with asyncio.timeout(WAIT_S):
            await services.swept.wait()
        assert not failures
        assert await made.log.last_sequence(gone) == 0


async def test_a_deletion_known_first_by_its_tombstone_is_finished_too(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        executed = await made.services.store.execute(session_id, WORKSPACE, DeleteSession())
        assert executed.decision.record is not None
        last = executed.decision.record.entries[-1].event.model_dump_json().encode()
        made.services.projection.remove([Deletion(session_id, WORKSPACE, executed.sequence, last)])
        await made.services.reach_end()
        assert [deletion.session_id for deletion in await made.services.projection.deletions()] == [session_id]
        await made.services.deletion.carry_out_all()
        assert await made.log.last_sequence(session_id) == 0
        await made.services.projection.settle()
        assert await made.services.projection.deletions() == []


async def test_a_session_deleted_while_it_was_down_is_not_listed(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        gone, kept = await made.create(), await made.create()
        await made.services.reach_end()
        other = build(made.connection, tmp_path / "other")
        await made.services.stop()
        await other.services.start()
        await other.delete(gone)
        await other.services.stop()
        made.services = build(made.connection, made.folder).services
        await made.services.start()
        async with asyncio.timeout(WAIT_S):
            await made.services.swept.wait()
        await made.services.projection.settle()
        assert await all_sessions(made.services) == [kept]


async def test_a_straggling_record_does_not_bring_a_deleted_session_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        await made.services.reach_end()
        made.services.projection.remove([Deletion(session_id, WORKSPACE, 1, b"{}")])
        await made.create_input(session_id, "straggler")
        assert await all_sessions(made.services) == []


class Interfering:
    """A log that does ``meanwhile`` before a session is read."""

    def __init__(self, log: SessionLog, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._log = log
        self._meanwhile = meanwhile

    async def read(self, session_id: SessionId, *, after: int, reach: int) -> AsyncGenerator[StoredRecord]:
        await self._meanwhile()
        async for stored in self._log.read(session_id, after=after, reach=reach):
            yield stored


async def test_a_session_removed_while_records_of_others_are_read_is_not_brought_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        removed, kept = await made.create(message("one")), await made.create(message("one"))
        await made.create_input(kept, "two")
        batch = await anext(made.services.feed.follow(after=0))
        records = [
            CommittedRecord(parse_session(raw.subject)[0], raw.sequence, raw.previous, sort_record(raw.payload))
            for raw in batch
        ]
        assert [record.session_id for record in records] == [removed, kept, kept]

        async def remove() -> None:
            projection.remove([Deletion(removed, WORKSPACE, 1, b"{}")])
            await projection.settle()

        log = cast("SessionLog", Interfering(made.log, remove))
        projection = SessionProjection(tmp_path / "again.sqlite", log)
        await projection.open("stream")
        await projection.apply([records[0], records[2]], until=records[2].sequence)
        await projection.reach(records[2].sequence)
        found = await projection.sessions(SessionQuery(WORKSPACE, "asc", 100))
        assert [folded.state.session_id for folded in found] == [kept]
        assert found[0] == (await made.services.store.load(kept, WORKSPACE))
        await projection.close()


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b'{"v":2,"entries":[]}',
        b'{"v":1,"id":"rec_x","entries":[{"event":{"type":"no.such","id":"x","processed_at":"x"}}]}',
        b'{"v":1,"blob":"sesn_x/records/rec_x","id":"rec_x"}',
    ],
)
async def test_a_last_record_that_cannot_be_read_does_not_hold_up_lists(tmp_path: Path, payload: bytes) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("one"))
        await made.connection.request(subjects.session(session_id, "out"), payload, timeout_s=WAIT_S)
        assert await all_sessions(made.services) == [session_id]
        assert await made.services.check() is None


async def test_only_so_many_deleted_sessions_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_projection, "GONE_MAX", 2)
    async with rig(tmp_path) as made:
        gone = [Deletion(SessionId(f"sesn_{index}"), WORKSPACE, 1, b"{}") for index in range(3)]
        made.services.projection.remove(gone)
        assert list(made.services.projection._gone) == ["sesn_1", "sesn_2"]


async def test_every_phase_of_a_call_survives_the_file(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("one"))
        brain = made.brain(session_id)
        await brain.start_turn()
        permissions: tuple[Permission, ...] = ("allow", "ask", "deny")
        await brain.append([called(permission) for permission in permissions])
        state = await brain.look()
        assert len(state.calls) == 3
        assert load_state(dump_state(state)) == state


def test_only_so_many_states_stay_in_memory_but_none_that_is_not_written() -> None:
    states = SessionStates(states_max=2)
    names = [SessionId(f"sesn_{index}") for index in range(5)]
    for sequence, name in enumerate(names, start=1):
        states.put(name, Folded(None, sequence))  # type: ignore[arg-type]  # only kept, never looked into
        if name == names[0]:
            states.will_write(name, sequence)
    assert [name for name in names if states.get(name) is not None] == [names[0], *names[3:]]
    states.wrote([(names[0], 1)])
    states.put(names[1], Folded(None, 9))  # type: ignore[arg-type]
    assert [name for name in names if states.get(name) is not None] == [names[1], names[4]]


async def test_the_feed_waits_while_too_many_records_wait_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_projection, "RECORDS_WAITING_MAX", 1)
    async with rig(tmp_path) as made:
        sessions = [await made.create(message("one")) for _ in range(5)]
        for session_id in sessions:
            await made.brain(session_id).answer("first")
        assert await all_sessions(made.services) == sessions


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    index = EventIndex.open(tmp_path / "x.sqlite", "stream")
    session_id = SessionId("sesn_1")
    event = (0, "user.message", None, "2026")
    changes = Changes(applied=5, events=[(session_id, 5, [event])])
    for _ in range(2):
        index.write(changes)
    assert index.positions(EventQuery(session_id, None, "asc", 10, until=9)) == [Position(5, 0)]
    assert index.applied() == 5
    index.close()


async def test_a_write_that_the_disk_refuses_is_only_delayed(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await made.create()
        await made.services.reach_end()
        with contextlib.closing(sqlite3.connect(file_of(made), isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            session_id = await made.create()
            assert (await made.services.store.load(session_id, WORKSPACE)).state.session_id == session_id
            blocker.execute("ROLLBACK")
        assert session_id in await all_sessions(made.services)


async def test_a_write_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_writer, "RETRY_S", 0.01)
    async with rig(tmp_path) as made:
        await made.create()
        await made.services.reach_end()
        index = made.services.projection._writing_index
        assert index is not None
        index._connection.execute("PRAGMA query_only = ON")
        session_id = await made.create()
        with pytest.raises(Overloaded):
            await made.services.projection.reach(await made.services.feed.last_sequence(), deadline_s=0.05)
        index._connection.execute("PRAGMA query_only = OFF")
        assert session_id in await all_sessions(made.services)


async def test_a_file_damaged_while_it_is_used_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with rig(tmp_path) as made:
        sessions = [await made.create(message("one")) for _ in range(3)]
        await made.services.reach_end()
        index = made.services.projection._writing_index
        assert index is not None
        index._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with file_of(made).open("r+b") as file:
            file.seek(0)
            file.write(b"\xff" * 65_536)
        sessions.append(await made.create())
        assert await eventually_all_sessions(made.services, len(sessions)) == sessions
        assert "is damaged and is built again" in caplog.text


async def eventually_all_sessions(services: SessionServices, count: int) -> list[SessionId]:
    """The sessions, as soon as lists work again."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(Overloaded):
                found = await all_sessions(services)
                if len(found) == count:
                    return found
            await asyncio.sleep(0.01)
