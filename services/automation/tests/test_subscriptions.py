"""What a reactor may rely on when records come in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import orjson
import pytest

from efferent.automation.reactor import Handle, Later, RecordSubscription
from efferent.automation.subscriptions import Subscriptions
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.ports import RawRecord
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer
from efferent.common.runtime.settings import NatsSettings

WITHIN_S = 30.0

Open = Callable[..., AbstractAsyncContextManager[Subscriptions]]


class Seen:
    """Records as they were handled."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []
        self._changed = asyncio.Event()

    def add(self, record: RawRecord) -> None:
        self.records.append(record)
        self._changed.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not enough():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def opened(connection: Connection, nats: NatsSettings) -> Open:
    """Subscriptions to ``control.agent.*`` with this handler."""

    @asynccontextmanager
    async def open_with(handle: Handle, *, ack_wait_s: float = WITHIN_S) -> AsyncIterator[Subscriptions]:
        consumer = DurableSpec(subjects.CONTROL, "test", (subjects.control_fence("agent"),), ack_wait_s=ack_wait_s)
        running = Subscriptions(connection, nats, [RecordSubscription(consumer, handle, in_flight_max=4)])
        await running.declare()
        await running.start()
        yield running
        await running.drain()

    return open_with


async def append(connection: Connection, *names: str) -> None:
    log = JetStreamControlLog(connection)
    for name in names:
        await log.append(subjects.control("agent", name), name.encode(), expected=0)


async def unanswered(connection: Connection) -> int:
    """Records that the consumer has delivered or not yet delivered, and that nobody has acknowledged."""
    answer = await connection.request("$JS.API.CONSUMER.INFO.CONTROL.test", timeout_s=10)
    info = orjson.loads(answer.data)
    pending: int = info["num_pending"] + info["num_ack_pending"]
    return pending


async def all_answered(connection: Connection) -> None:
    """Wait until the server has seen every acknowledgement, which it does not answer."""
    async with asyncio.timeout(WITHIN_S):
        while await unanswered(connection):
            pass


def recording(seen: Seen, *troubles: Exception) -> Callable[[RawRecord], Awaitable[None]]:
    left = list(troubles)

    async def handle(record: RawRecord) -> None:
        seen.add(record)
        if left:
            raise left.pop(0)

    return handle


async def test_records_from_before_and_after_the_start_are_handled_once(connection: Connection, opened: Open) -> None:
    seen = Seen()
    await append(connection, "a", "b")
    async with opened(recording(seen)):
        await append(connection, "c")
        await seen.until(lambda: len(seen.records) == 3)
    assert sorted(record.payload for record in seen.records) == [b"a", b"b", b"c"]
    assert sorted(record.sequence for record in seen.records) == [1, 2, 3]
    await all_answered(connection)


@pytest.mark.parametrize("trouble", [Later(0.01, "not yet"), RuntimeError("a defect")])
async def test_a_record_that_was_not_handled_comes_again(
    connection: Connection, opened: Open, trouble: Exception
) -> None:
    seen = Seen()
    await append(connection, "a")
    async with opened(recording(seen, trouble)):
        await seen.until(lambda: len(seen.records) == 2)
    assert [record.payload for record in seen.records] == [b"a", b"a"]
    await all_answered(connection)


async def test_two_replicas_share_the_records(connection: Connection, opened: Open) -> None:
    seen = Seen()
    names = [f"r{number}" for number in range(40)]
    async with opened(recording(seen)), opened(recording(seen)):
        await append(connection, *names)
        await seen.until(lambda: len(seen.records) == len(names))
    assert sorted(record.payload.decode() for record in seen.records) == sorted(names)


async def test_a_handler_that_does_not_end_does_not_hold_the_drain_and_its_record_comes_again(
    connection: Connection, opened: Open
) -> None:
    seen = Seen()

    async def stuck(record: RawRecord) -> None:
        seen.add(record)
        await asyncio.Event().wait()

    await append(connection, "a")
    async with opened(stuck, ack_wait_s=1.0) as running:
        await seen.until(lambda: len(seen.records) == 1)
        async with asyncio.timeout(WITHIN_S):
            await running.drain()
    assert await unanswered(connection) == 1
    again = Seen()
    async with opened(recording(again), ack_wait_s=1.0):
        await again.until(lambda: len(again.records) == 1)


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_a_drain_while_the_server_is_away_ends_as_well(
    connection: Connection, server: RunningServer, opened: Open, is_noticed: bool
) -> None:
    seen, lost = Seen(), asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    await append(connection, "a")
    async with opened(recording(seen)) as running:
        await seen.until(lambda: len(seen.records) == 1)
        assert running._broker is not None
        client = running._broker._connection
        assert client is not None
        client._disconnected_cb = on_lost
        await nats_server.kill(server)
        async with asyncio.timeout(WITHIN_S):
            if is_noticed:
                await lost.wait()
            await running.drain()
