"""What every feed promises: each record once, in order, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from efferent.common.ports import Feed, IdSource, RawRecord
from efferent.common.testing.log_world import LogWorld
from efferent.common.testing.records import message_record, new_session_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def following(feed: Feed, after: int) -> AsyncIterator[asyncio.Queue[RawRecord]]:
    """The feed's records as a queue."""
    records: asyncio.Queue[RawRecord] = asyncio.Queue()

    async def follow() -> None:
        batch: Sequence[RawRecord]
        async for batch in feed.follow(after=after):
            for record in batch:
                records.put_nowait(record)

    task = asyncio.create_task(follow())
    try:
        yield records
    finally:
        task.cancel()
        await asyncio.wait([task])


async def take(records: asyncio.Queue[RawRecord], count: int) -> list[RawRecord]:
    """The next records."""
    async with asyncio.timeout(30):
        return [await records.get() for _ in range(count)]


async def test_history_comes_first_then_live_records(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    start = await world.session_feed.last_sequence()
    one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
    async with following(world.session_feed, start) as records:
        assert [record.sequence for record in await take(records, 1)] == [one]
        two = await world.sessions.append(session_id, "out", message_record(source), expected=one)
        (second,) = await take(records, 1)
        assert (second.sequence, second.previous, second.subject) == (two, one, f"session.{session_id}.out")


async def test_refused_appends_are_not_seen(world: LogWorld, source: IdSource) -> None:
    kind = source.seed()
    start = await world.control_feed.last_sequence()
    async with following(world.control_feed, start) as records:
        one = await world.control.append(f"control.{kind}.a", b"1", expected=0)
        await asyncio.gather(
            *(world.control.append(f"control.{kind}.a", b"%d" % n, expected=0) for n in range(2, 6)),
            return_exceptions=True,
        )
        last = await world.control.append(f"control.{kind}.a", b"9", expected=one)
        assert [(record.sequence, record.payload) for record in await take(records, 2)] == [(one, b"1"), (last, b"9")]


async def test_two_followers_see_the_same_records_in_the_same_order(world: LogWorld, source: IdSource) -> None:
    kind, count = source.seed(), 200
    start = await world.control_feed.last_sequence()
    async with following(world.control_feed, start) as one, following(world.control_feed, start) as two:
        await asyncio.gather(*(world.control.append(f"control.{kind}.{n}", b"x", expected=0) for n in range(count)))
        seen = await take(one, count)
        assert seen == await take(two, count)
    assert [record.sequence for record in seen] == sorted({record.sequence for record in seen})


async def test_purged_records_leave_holes_that_do_not_stop_the_feed(world: LogWorld, source: IdSource) -> None:
    gone, kept = new_session_id(source), new_session_id(source)
    start = await world.session_feed.last_sequence()
    await world.sessions.append(gone, "in", message_record(source), expected=0)
    one = await world.sessions.append(kept, "in", message_record(source), expected=0)
    await world.sessions.append(gone, "in", message_record(source), expected=one - 1)
    await world.sessions.purge(gone)

    async def take_what_is_left(records: asyncio.Queue[RawRecord]) -> int:
        (record,) = await take(records, 1)
        while world.is_replicated and record.subject == f"session.{gone}.in":  # by a replica that lags
            (record,) = await take(records, 1)
        return record.sequence

    async with following(world.session_feed, start) as records:
        assert await take_what_is_left(records) == one
        two = await world.sessions.append(kept, "out", message_record(source), expected=one)
        assert await take_what_is_left(records) == two


async def test_slow_reader_misses_nothing(world: LogWorld, source: IdSource) -> None:
    """More records than a feed may buffer are appended before the reader comes back."""
    kind, count = source.seed(), 600
    start = await world.control_feed.last_sequence()
    batches = aiter(world.control_feed.follow(after=start))
    await world.control.append(f"control.{kind}.first", b"x", expected=0)
    seen = list(await anext(batches))
    await asyncio.gather(*(world.control.append(f"control.{kind}.{n}", b"x", expected=0) for n in range(count)))
    async with asyncio.timeout(30):
        while len(seen) < count + 1:
            seen += await anext(batches)
    assert len({record.subject for record in seen}) == count + 1
    assert [record.sequence for record in seen] == sorted(record.sequence for record in seen)
