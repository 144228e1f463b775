"""The feed when live messages get lost, its buffer overflows, or the server dies."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection, Deliver, Message, Subscription
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed, JetStreamSessionFeed
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import IdSource, RawRecord
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.records import message_record, new_session_id

NEVER_S = 3_600.0


class LossyConnection:
    """The real connection, except that live messages for which ``loses`` is true never arrive."""

    def __init__(self, connection: Connection, loses: Callable[[Message], bool]) -> None:
        self._connection = connection
        self._loses = loses

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    async def subscribe(self, subject: str, deliver: Deliver) -> Subscription:
        """Subscribe, with losses."""

        def deliver_some(message: Message) -> None:
            if not self._loses(message):
                deliver(message)

        return await self._connection.subscribe(subject, deliver_some)


def lossy(connection: Connection, loses: Callable[[Message], bool]) -> Connection:
    """A connection that loses live messages."""
    return LossyConnection(connection, loses)  # type: ignore[return-value]  # the same methods, one of them unreliable


async def collect(feed: JetStreamFeed, count: int, seen: list[RawRecord], after: int = 0) -> None:
    """Follow until so many records were seen."""
    batches = feed.follow(after=after)
    batch: Sequence[RawRecord]
    async with asyncio.timeout(20):
        async for batch in batches:
            seen.extend(batch)
            if len(seen) >= count:
                return


async def append_many(control: JetStreamControlLog, numbers: range) -> None:
    """One record per number, each under its own subject."""
    for number in numbers:
        await control.append(f"control.test.{number}", b"%d" % number, expected=0)


async def test_lost_message_in_the_middle_is_read_from_the_log(connection: Connection) -> None:
    losing = lossy(connection, lambda message: int(message.headers["Nats-Sequence"]) % 3 == 0)
    feed = JetStreamFeed(losing, subjects.CONTROL, check_interval_s=NEVER_S)
    seen: list[RawRecord] = []
    following = asyncio.create_task(collect(feed, 31, seen))
    await append_many(JetStreamControlLog(connection), range(31))
    await following
    assert [int(record.payload) for record in seen] == list(range(31))


async def test_lost_last_message_is_found_by_the_regular_check(connection: Connection) -> None:
    losing = lossy(connection, lambda message: True)
    feed = JetStreamFeed(losing, subjects.CONTROL, check_interval_s=0.05)
    seen: list[RawRecord] = []
    following = asyncio.create_task(collect(feed, 5, seen))
    await append_many(JetStreamControlLog(connection), range(5))
    await following
    assert [record.sequence for record in seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limit", [{"buffer_records_max": 4}, {"buffer_bytes_max": 4}])
async def test_overflowing_buffer_is_made_good_from_the_log(connection: Connection, limit: dict[str, int]) -> None:
    feed = JetStreamFeed(connection, subjects.CONTROL, check_interval_s=NEVER_S, **limit)
    control = JetStreamControlLog(connection)
    batches = aiter(feed.follow(after=0))
    await append_many(control, range(1))
    seen = list(await anext(batches))
    await append_many(control, range(1, 50))  # nobody reads meanwhile
    async with asyncio.timeout(20):
        while len(seen) < 50:
            seen += await anext(batches)
    assert [int(record.payload) for record in seen] == list(range(50))


async def test_feed_goes_on_across_a_killed_server(
    connection: Connection, server: RunningServer, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=20)
    feed = JetStreamFeed(connection, subjects.SESSIONS)
    session_id, sequences = new_session_id(source), [0]
    seen: list[RawRecord] = []
    following = asyncio.create_task(collect(feed, 40, seen))
    for number in range(40):
        if number == 20:
            await nats_server.kill(server)
            server = await nats_server.start(server.spec)
        sequences.append(await log.append(session_id, "out", message_record(source), expected=sequences[-1]))
    await following
    assert [record.sequence for record in seen] == sequences[1:]
    await nats_server.stop(server)


async def test_session_feed_sees_its_session_only_and_repairs_gaps_by_the_previous_sequence(
    connection: Connection, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    session_id, other = new_session_id(source), new_session_id(source)
    lost: list[bool] = []

    def loses(message: Message) -> bool:
        # By its place in the log: how many come live depends on when the feed began. The last one (23) is not lost.
        is_lost = int(message.headers["Nats-Sequence"]) % 8 == 5
        lost.append(is_lost)
        return is_lost

    feed = JetStreamSessionFeed(lossy(connection, loses), session_id, check_interval_s=NEVER_S)
    seen: list[RawRecord] = []
    following = asyncio.create_task(collect(feed, 12, seen))
    mine, theirs = [0], [0]
    for _ in range(12):
        mine.append(await log.append(session_id, "out", message_record(source), expected=mine[-1]))
        theirs.append(await log.append(other, "out", message_record(source), expected=theirs[-1]))
    await following
    assert [record.sequence for record in seen] == mine[1:]
    assert True in lost
    assert await feed.last_sequence() == mine[-1]


@pytest.mark.parametrize("after", [0, 3])
async def test_feed_starts_where_it_is_told(connection: Connection, after: int) -> None:
    await append_many(JetStreamControlLog(connection), range(5))
    seen: list[RawRecord] = []
    await collect(JetStreamFeed(connection, subjects.CONTROL), 5 - after, seen, after)
    assert [record.sequence for record in seen] == list(range(after + 1, 6))


async def test_ended_follower_leaves_no_subscription(connection: Connection) -> None:
    feed = JetStreamFeed(connection, subjects.CONTROL)
    await append_many(JetStreamControlLog(connection), range(1))
    batches = feed.follow(after=0)
    await anext(aiter(batches))
    await batches.aclose()
    assert not [sub.subject for sub in connection._client._subs.values() if sub.subject.startswith("live.")]
