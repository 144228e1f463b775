"""What a reactor may rely on when records come in."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson
import pytest

from efferent.automation.reactor import Handle, Later, Need, RecordSubscription
from efferent.automation.subscriptions import Subscriptions
from efferent.common.jetstream import api, durable, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.ports import LogUnavailable, RawRecord
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
    async def open_with(
        handle: Handle, *, ack_wait_s: float = WITHIN_S, need: Need | None = None
    ) -> AsyncIterator[Subscriptions]:
        consumer = DurableSpec(subjects.CONTROL, "test", (subjects.control_fence("agent"),), ack_wait_s=ack_wait_s)
        wanted = [RecordSubscription(consumer, handle, in_flight_max=4, need=need)]
        running = Subscriptions(connection, nats, wanted, clocks_apart_s=0)
        await running.declare()
        await running.start()
        yield running
        await running.drain()

    return open_with


async def append(connection: Connection, *names: str, kind: str = "agent") -> None:
    log = JetStreamControlLog(connection)
    for name in names:
        await log.append(subjects.control(kind, name), name.encode(), expected=0)


async def consumers(connection: Connection) -> list[str]:
    """The durable consumers of ``CONTROL``."""
    answer = await api.call(connection, "CONSUMER.NAMES.CONTROL", {})
    return list(answer["consumers"] or [])


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
        (broker,) = running._brokers
        client = broker._connection
        assert client is not None
        client._disconnected_cb = on_lost
        await nats_server.kill(server)
        async with asyncio.timeout(WITHIN_S):
            if is_noticed:
                await lost.wait()
            await running.drain()


VAULT = Need("vault", lambda raw: raw.payload != b"uncounted")


async def test_without_the_need_there_is_no_consumer_and_from_it_on_every_record_is_handled(
    connection: Connection, opened: Open
) -> None:
    seen = Seen()
    await append(connection, "before")
    async with opened(recording(seen), need=VAULT), opened(recording(seen), need=VAULT):
        await append(connection, "uncounted", kind="vault")
        await append(connection, "vault", kind="vaults")
        assert await consumers(connection) == []
        await append(connection, "a", kind="vault")
        await append(connection, "after", "later")
        await seen.until(lambda: len(seen.records) == 2)
        await append(connection, "b", kind="vault")
        await append(connection, "latest")
        await seen.until(lambda: len(seen.records) == 3)
    assert sorted(record.payload for record in seen.records) == [b"after", b"later", b"latest"]
    await all_answered(connection)


async def test_a_need_that_came_while_nobody_was_there_is_met_from_its_beginning(
    connection: Connection, opened: Open
) -> None:
    seen = Seen()
    await append(connection, "before")
    await append(connection, "uncounted", "a", kind="vault")
    await append(connection, "after")
    async with opened(recording(seen), need=VAULT):
        await seen.until(lambda: len(seen.records) == 1)
    await append(connection, "meanwhile")
    async with opened(recording(seen), need=VAULT):
        await seen.until(lambda: len(seen.records) == 2)
    assert [record.payload for record in seen.records] == [b"after", b"meanwhile"]


async def test_a_need_that_comes_while_the_server_restarts_is_met(
    connection: Connection, server: RunningServer, opened: Open
) -> None:
    seen = Seen()
    async with opened(recording(seen), need=VAULT):
        await nats_server.kill(server)
        async with nats_server.running(server.spec):
            await append(connection, "a", kind="vault")
            await append(connection, "after")
            await seen.until(lambda: len(seen.records) == 1)


async def test_a_subscription_that_cannot_begin_is_reported_and_tried_again(
    connection: Connection, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen, declare, left = Seen(), durable.declare, [LogUnavailable("not now"), RuntimeError("a defect")]

    async def fail_at_first(*arguments: Any) -> None:
        if left:
            raise left.pop(0)
        await declare(*arguments)

    async with opened(recording(seen), need=VAULT):
        monkeypatch.setattr(durable, "declare", fail_at_first)
        await append(connection, "a", kind="vault")
        await append(connection, "after")
        await seen.until(lambda: len(seen.records) == 1)
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING", "ERROR"]


async def test_a_consumer_that_is_there_keeps_its_start(connection: Connection, opened: Open) -> None:
    seen = Seen()
    await append(connection, "before")
    async with opened(recording(seen)):
        await seen.until(lambda: len(seen.records) == 1)
    await append(connection, "a", kind="vault")
    async with opened(recording(seen), need=VAULT):
        await append(connection, "after")
        await seen.until(lambda: len(seen.records) == 2)
    async with opened(recording(seen)):
        await append(connection, "latest")
        await seen.until(lambda: len(seen.records) == 3)
    assert [record.payload for record in seen.records] == [b"before", b"after", b"latest"]
