"""Ten thousand records read back whole, in order and in bounded time."""

import asyncio

import pytest

from efferent.common.ports import IdSource
from efferent.common.testing.log_world import LogWorld
from efferent.common.testing.records import message_record, new_session_id, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

RECORDS = 10_000
IN_FLIGHT = 500
READ_WITHIN_S = 20


@pytest.mark.parametrize("world", ["memory", "server"], indirect=True)
async def test_a_session_of_ten_thousand_records_reads_back_in_order(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    first = await world.sessions.append(session_id, "in", message_record(source, "0"), expected=0)
    for start in range(1, RECORDS, IN_FLIGHT):
        # Nobody else writes, so each append knows the sequence of the one sent before it without waiting for it.
        numbers = range(start, min(start + IN_FLIGHT, RECORDS))
        await asyncio.gather(
            *(
                world.sessions.append(
                    session_id, "out", message_record(source, str(number)), expected=first + number - 1
                )
                for number in numbers
            )
        )
    async with asyncio.timeout(READ_WITHIN_S):
        texts = [text_of(stored.record) async for stored in world.sessions.read(session_id)]
    assert texts == [str(number) for number in range(RECORDS)]
    tail = [stored.sequence async for stored in world.sessions.read(session_id, after=first + RECORDS - 3)]
    assert tail == [first + RECORDS - 2, first + RECORDS - 1]


@pytest.mark.parametrize("world", ["cluster"], indirect=True)
async def test_ten_thousand_control_records_read_back_in_order(world: LogWorld, source: IdSource) -> None:
    kind = source.seed()
    for start in range(0, RECORDS, IN_FLIGHT):
        numbers = range(start, start + IN_FLIGHT)
        await asyncio.gather(
            *(world.control.append(f"control.{kind}.{number}", b"%d" % number, expected=0) for number in numbers)
        )
    async with asyncio.timeout(READ_WITHIN_S):
        records = [record async for record in world.control.read(f"control.{kind}.*")]
    assert sorted(int(record.payload) for record in records) == list(range(RECORDS))
    sequences = [record.sequence for record in records]
    assert sequences == sorted(sequences)
