"""The log when the server dies, stays away, fills up, or has forgotten its configuration."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from efferent.common.jetstream import api, streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import IdSource, LogConflict, LogUnavailable, LogUnreadable
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer, ServerSpec
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.records import message_record, new_session_id, text_of


async def test_appends_go_on_through_a_killed_server_and_none_is_lost_or_doubled(
    connection: Connection, server: RunningServer, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=20)
    session_id, count = new_session_id(source), 300
    half_way = asyncio.Event()

    async def write() -> list[int]:
        sequences = [0]
        for number in range(count):
            record = message_record(source, str(number))
            sequences.append(await log.append(session_id, "out", record, expected=sequences[-1]))
            if number == count // 3:
                half_way.set()
        return sequences[1:]

    writing = asyncio.create_task(write())
    await half_way.wait()
    await nats_server.kill(server)
    async with nats_server.running(server.spec):
        sequences = await writing
        stored = [record async for record in log.read(session_id, reach=sequences[-1])]
        assert [record.sequence for record in stored] == sequences
        assert [text_of(record.record) for record in stored] == [str(number) for number in range(count)]


async def test_append_and_read_without_a_server_are_unavailable_after_the_deadline(
    connection: Connection, server: RunningServer, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=0.3)
    session_id = new_session_id(source)
    await nats_server.kill(server)
    started = asyncio.get_running_loop().time()
    with pytest.raises(LogUnavailable):
        await log.append(session_id, "in", message_record(source), expected=0)
    with pytest.raises(LogUnavailable):
        [record async for record in log.read(session_id)]
    with pytest.raises(LogUnavailable):
        await log.last_sequence(session_id)
    assert asyncio.get_running_loop().time() - started < api.DEADLINE_S  # each gave up after its own deadline


async def test_read_that_is_given_up_half_way_leaves_the_log_usable(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), page_records=2)
    session_id, last = new_session_id(source), 0
    for _ in range(9):
        last = await log.append(session_id, "out", message_record(source), expected=last)
    reading = log.read(session_id)
    await anext(reading)
    await reading.aclose()
    assert len([record async for record in log.read(session_id, reach=last)]) == 9


async def test_read_of_a_sequence_that_never_comes_is_unavailable(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=0.2)
    session_id = new_session_id(source)
    last = await log.append(session_id, "in", message_record(source), expected=0)
    with pytest.raises(LogUnavailable, match="not reached"):
        [record async for record in log.read(session_id, reach=last + 1)]


async def test_full_store_refuses_appends_and_keeps_what_it_has(spec: ServerSpec, source: IdSource) -> None:
    small = dataclasses.replace(spec, store_bytes_max=1024 * 1024)
    async with nats_server.running(small) as server:
        connection = await connect([server.url], token=server.token, name="test", within_s=10)
        await streams.declare(connection)
        log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=30)
        session_id, sequences = new_session_id(source), [0]
        started = asyncio.get_running_loop().time()

        async def fill() -> None:
            for _ in range(50):
                record = message_record(source, "x" * 100_000)
                sequences.append(await log.append(session_id, "in", record, expected=sequences[-1]))

        with pytest.raises(LogUnavailable):
            await fill()
        assert asyncio.get_running_loop().time() - started < 15  # refused at once, not after the deadline
        stored = [record.sequence async for record in log.read(session_id)]
        assert stored == sequences[1:]
        assert stored
        await connection.close()


async def test_record_whose_blob_is_gone_is_unreadable(connection: Connection, source: IdSource) -> None:
    blobs = InMemoryBlobs()
    log = JetStreamSessionLog(connection, blobs)
    session_id = new_session_id(source)
    await log.append(session_id, "in", message_record(source, "x" * 300_000), expected=0)
    await blobs.delete(session_id)
    with pytest.raises(LogUnreadable, match="no blob"):
        [record async for record in log.read(session_id)]


async def test_blob_is_stored_before_the_record_that_names_it(connection: Connection, source: IdSource) -> None:
    class FullDisk(InMemoryBlobs):
        async def put(self, key: str, data: bytes) -> None:
            raise OSError("no space left")

    log = JetStreamSessionLog(connection, FullDisk())
    session_id = new_session_id(source)
    with pytest.raises(OSError, match="no space"):
        await log.append(session_id, "in", message_record(source, "x" * 300_000), expected=0)
    assert await log.last_sequence(session_id) == 0


async def test_pages_of_any_size_give_the_same_records(connection: Connection, source: IdSource) -> None:
    writer = JetStreamSessionLog(connection, InMemoryBlobs())
    session_id, last = new_session_id(source), 0
    for number in range(10):
        last = await writer.append(session_id, "out", message_record(source, str(number)), expected=last)
    for page_records in (1, 3, 10):
        log = JetStreamSessionLog(connection, InMemoryBlobs(), page_records=page_records)
        assert [text_of(stored.record) async for stored in log.read(session_id)] == [str(n) for n in range(10)]


async def test_page_that_ends_by_bytes_is_followed_by_the_next(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    session_id, last = new_session_id(source), 0
    for _ in range(30):
        last = await log.append(session_id, "out", message_record(source, "x" * 200_000), expected=last)
    assert len([stored async for stored in log.read(session_id)]) == 30


async def test_streams_declared_again_keep_their_records_and_take_new_settings(
    connection: Connection, source: IdSource
) -> None:
    control = JetStreamControlLog(connection)
    await control.append("control.agent.a", b"x", expected=0)
    config = streams.configuration(subjects.CONTROL, subjects.CONTROL_SUBJECTS, 1) | {"description": "older"}
    await api.call(connection, f"STREAM.UPDATE.{subjects.CONTROL}", config)
    await streams.declare(connection)
    info = await api.call(connection, f"STREAM.INFO.{subjects.CONTROL}", {})
    assert "description" not in info["config"]
    assert await control.last_sequence() == 1


async def test_stream_that_cannot_be_declared_says_why(connection: Connection) -> None:
    with pytest.raises(api.ApiError, match="replicas"):
        await streams.declare(connection, replicas=3, deadline_s=0.3)


async def test_conflict_is_raised_as_soon_as_it_is_known(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=30)
    session_id = new_session_id(source)
    await log.append(session_id, "in", message_record(source), expected=0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(LogConflict):
        await log.append(session_id, "in", message_record(source), expected=0)
    assert asyncio.get_running_loop().time() - started < 15  # not after the deadline


def test_data_folder_of_the_server_is_where_it_was_told(spec: ServerSpec, tmp_path: Path) -> None:
    assert str(tmp_path / "nats") in nats_server.configuration(spec)


async def test_whole_stream_is_read_past_records_that_are_gone_wherever_a_page_begins(connection: Connection) -> None:
    log = JetStreamControlLog(connection, page_records=2)
    written = [await log.append(f"control.agent.a{number}", b"{}", expected=0) for number in range(9)]
    gone = {written[index] for index in (0, 2, 4, 5, 8)}
    for sequence in gone:
        await log.erase(sequence)
    read = [raw.sequence async for raw in log.read(subjects.all_of(subjects.CONTROL), after=written[0] - 1)]
    assert read == [sequence for sequence in written if sequence not in gone]
