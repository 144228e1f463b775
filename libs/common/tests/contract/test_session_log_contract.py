"""What every session log promises."""

import asyncio
from functools import partial

import pytest

from efferent.common.codec import RECORD_BYTES_MAX
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record, StoredRecord
from efferent.common.ports import IdSource, LogConflict, SessionLog
from efferent.common.testing.log_world import LogWorld
from efferent.common.testing.records import message_record, new_session_id, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _read(
    log: SessionLog, session_id: SessionId, *, after: int = 0, reach: int | None = None
) -> list[StoredRecord]:
    return [stored async for stored in log.read(session_id, after=after, reach=reach)]


async def _append_all(log: SessionLog, session_id: SessionId, records: list[Record]) -> list[int]:
    sequences: list[int] = []
    for record in records:
        expected = sequences[-1] if sequences else 0
        sequences.append(await log.append(session_id, "out", record, expected=expected))
    return sequences


async def test_records_come_back_whole_in_order_with_side_and_previous(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    first, second = message_record(source, "one"), message_record(source, "two")
    one = await world.sessions.append(session_id, "in", first, expected=0)
    two = await world.sessions.append(session_id, "out", second, expected=one)
    assert await _read(world.sessions, session_id, reach=two) == [
        StoredRecord(sequence=one, previous=0, side="in", record=first),
        StoredRecord(sequence=two, previous=one, side="out", record=second),
    ]


async def test_a_session_never_written_is_empty(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    assert await _read(world.sessions, session_id) == []
    assert await world.sessions.last_sequence(session_id) == 0


async def test_sessions_do_not_see_each_other(world: LogWorld, source: IdSource) -> None:
    one, two = new_session_id(source), new_session_id(source)
    await world.sessions.append(one, "in", message_record(source), expected=0)
    last = await world.sessions.append(two, "in", message_record(source, "mine"), expected=0)
    assert [text_of(stored.record) for stored in await _read(world.sessions, two)] == ["mine"]
    assert await world.sessions.last_sequence(two) == last


async def test_read_starts_after_the_given_sequence(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    sequences = await _append_all(world.sessions, session_id, [message_record(source) for _ in range(4)])
    stored = await _read(world.sessions, session_id, after=sequences[1], reach=sequences[-1])
    assert [record.sequence for record in stored] == sequences[2:]


async def test_read_reaches_what_was_just_acknowledged(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    last = 0
    for _ in range(40):
        last = await world.sessions.append(session_id, "out", message_record(source), expected=last)
        stored = await _read(world.sessions, session_id, reach=last)
        assert stored[-1].sequence == last
    assert len(await _read(world.sessions, session_id)) == 40


async def test_append_on_an_old_state_writes_nothing_and_names_a_sequence_to_reach(
    world: LogWorld, source: IdSource
) -> None:
    session_id = new_session_id(source)
    one, two = await _append_all(world.sessions, session_id, [message_record(source), message_record(source)])
    with pytest.raises(LogConflict) as conflict:
        await world.sessions.append(session_id, "in", message_record(source), expected=one)
    assert conflict.value.last == two
    assert len(await _read(world.sessions, session_id)) == 2


async def test_append_to_a_session_that_already_exists_conflicts(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
    with pytest.raises(LogConflict) as conflict:
        await world.sessions.append(session_id, "out", message_record(source), expected=0)
    assert conflict.value.last == one


async def test_append_sent_again_after_a_lost_acknowledgement_is_found(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    record = message_record(source)
    sequence = await world.sessions.append(session_id, "in", record, expected=0)
    await world.sessions.append(session_id, "out", message_record(source), expected=sequence)
    assert await world.sessions.append(session_id, "in", record, expected=0) == sequence
    assert len(await _read(world.sessions, session_id)) == 2


async def test_record_over_the_limit_is_kept_as_a_blob_and_read_back_whole(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    record = message_record(source, "x" * (RECORD_BYTES_MAX + 1))
    sequence = await world.sessions.append(session_id, "in", record, expected=0)
    assert [stored.record for stored in await _read(world.sessions, session_id, reach=sequence)] == [record]
    assert len(await world.blobs.get(f"{session_id}/records/{record.id}")) > RECORD_BYTES_MAX


async def test_purge_removes_one_session_and_can_be_repeated(world: LogWorld, source: IdSource) -> None:
    session_id, other = new_session_id(source), new_session_id(source)
    await _append_all(world.sessions, session_id, [message_record(source), message_record(source)])
    kept = await world.sessions.append(other, "in", message_record(source), expected=0)
    await world.sessions.purge(session_id)
    await world.sessions.purge(session_id)
    assert await _read(world.sessions, session_id) == []
    assert await world.sessions.last_sequence(session_id) == 0
    assert [stored.sequence for stored in await _read(world.sessions, other, reach=kept)] == [kept]


async def test_purged_session_conflicts_for_a_writer_that_knew_it_and_accepts_a_create(
    world: LogWorld, source: IdSource
) -> None:
    session_id = new_session_id(source)
    last = await world.sessions.append(session_id, "in", message_record(source), expected=0)
    await world.sessions.purge(session_id)
    with pytest.raises(LogConflict) as conflict:
        await world.sessions.append(session_id, "out", message_record(source), expected=last)
    assert conflict.value.last == 0
    second = message_record(source)
    again = await world.sessions.append(session_id, "in", second, expected=0)
    assert again > last
    expected = [StoredRecord(sequence=again, previous=0, side="in", record=second)]
    read = partial(world.sessions.read, session_id, reach=again)
    assert await world.read_after_removal(read, expected) == expected


async def test_read_of_a_purged_session_ends_although_it_never_reaches(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    last = await world.sessions.append(session_id, "in", message_record(source), expected=0)
    await world.sessions.purge(session_id)
    read = partial(world.sessions.read, session_id, reach=last)
    assert await world.read_after_removal(read, []) == []


async def test_concurrent_writers_lose_nothing_and_double_nothing(world: LogWorld, source: IdSource) -> None:
    """Each writer reads, decides on what it saw and appends; a conflict makes it read again."""
    session_id = new_session_id(source)
    writers, records_each = 4, 8

    async def write(writer: int) -> None:
        seen: list[StoredRecord] = []
        reach = 0
        for number in range(records_each):
            record = message_record(source, f"{writer}/{number}")
            for _ in range(writers * records_each + 1):
                after = seen[-1].sequence if seen else 0
                seen += await _read(world.sessions, session_id, after=after, reach=max(reach, after))
                try:
                    expected = seen[-1].sequence if seen else 0
                    reach = await world.sessions.append(session_id, "out", record, expected=expected)
                    break
                except LogConflict as conflict:
                    reach = conflict.last
            else:
                pytest.fail("a writer never got its turn")

    await asyncio.gather(*(write(writer) for writer in range(writers)))
    stored = await _read(world.sessions, session_id)
    texts = [text_of(record.record) for record in stored]
    assert sorted(texts) == sorted(f"{writer}/{number}" for writer in range(writers) for number in range(records_each))
    for writer in range(writers):
        own = [text for text in texts if text.startswith(f"{writer}/")]
        assert own == [f"{writer}/{number}" for number in range(records_each)]
    assert [record.previous for record in stored] == [0, *(record.sequence for record in stored[:-1])]
