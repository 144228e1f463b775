"""The shared consumer when the server dies, the consumer is deleted, or its reader does not read."""

import asyncio

import pytest

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.inbound import HEARTBEAT_S, ConsumerSpec, JetStreamDelivery, JetStreamInboundConsumer
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import IdSource
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.records import message_record, new_session_id


async def info(connection: Connection) -> dict[str, int]:
    """What the server says about the consumer ``brain``."""
    found: dict[str, int] = await api.call(connection, f"CONSUMER.INFO.{subjects.SESSIONS}.brain", {})
    return found


async def take(deliveries: asyncio.Queue[JetStreamDelivery]) -> JetStreamDelivery:
    """The next delivery."""
    async with asyncio.timeout(30):
        return await deliveries.get()


async def consume(consumer: JetStreamInboundConsumer, into: asyncio.Queue[JetStreamDelivery]) -> None:
    """Acknowledge and pass on everything."""
    async for delivery in consumer.deliveries():
        await delivery.ack()
        into.put_nowait(delivery)


async def test_deliveries_go_on_after_a_killed_server(
    connection: Connection, server: RunningServer, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs(), deadline_s=20)
    consumer = JetStreamInboundConsumer(connection, InMemoryBlobs())
    deliveries: asyncio.Queue[JetStreamDelivery] = asyncio.Queue()
    consuming = asyncio.create_task(consume(consumer, deliveries))
    session_id = new_session_id(source)
    one = await log.append(session_id, "in", message_record(source), expected=0)
    assert (await take(deliveries)).stored.sequence == one
    await nats_server.kill(server)
    async with nats_server.running(server.spec):
        two = await log.append(session_id, "in", message_record(source), expected=one)
        delivery = await take(deliveries)
        while delivery.stored.sequence == one:  # its acknowledgement may have died with the server
            delivery = await take(deliveries)
        assert delivery.stored.sequence == two
        await consumer.close()
        await consuming


async def test_a_defect_in_the_pulls_does_not_end_them(
    connection: Connection, source: IdSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, consumer = (
        JetStreamSessionLog(connection, InMemoryBlobs()),
        JetStreamInboundConsumer(connection, InMemoryBlobs()),
    )
    declare, failures = JetStreamInboundConsumer.declare, [RuntimeError("a defect")]

    async def failing_once(self: JetStreamInboundConsumer) -> None:
        if failures:
            raise failures.pop()
        await declare(self)

    monkeypatch.setattr(JetStreamInboundConsumer, "declare", failing_once)
    deliveries: asyncio.Queue[JetStreamDelivery] = asyncio.Queue()
    consuming = asyncio.create_task(consume(consumer, deliveries))
    one = await log.append(new_session_id(source), "in", message_record(source), expected=0)
    assert (await take(deliveries)).stored.sequence == one
    assert "consumer brain failed" in caplog.text
    await consumer.close()
    await consuming


async def test_deleted_consumer_is_made_again(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    consumer = JetStreamInboundConsumer(connection, InMemoryBlobs())
    deliveries: asyncio.Queue[JetStreamDelivery] = asyncio.Queue()
    consuming = asyncio.create_task(consume(consumer, deliveries))
    session_id = new_session_id(source)
    one = await log.append(session_id, "in", message_record(source), expected=0)
    await take(deliveries)
    await api.call(connection, f"CONSUMER.DELETE.{subjects.SESSIONS}.brain", {})
    two = await log.append(session_id, "in", message_record(source), expected=one)
    seen = {(await take(deliveries)).stored.sequence}
    while two not in seen:
        seen.add((await take(deliveries)).stored.sequence)
    await consumer.close()
    await consuming


async def test_reader_that_does_not_read_leaves_the_rest_at_the_server(
    connection: Connection, source: IdSource
) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    last, session_id = 0, new_session_id(source)
    for _ in range(20):
        last = await log.append(session_id, "in", message_record(source), expected=last)
    consumer = JetStreamInboundConsumer(connection, InMemoryBlobs(), ConsumerSpec(ack_wait_s=60), batch=4)
    deliveries = consumer.deliveries()
    first = await anext(deliveries)
    await connection.flush(20)
    state = await info(connection)
    assert state["num_ack_pending"] <= 5
    assert state["num_pending"] >= 15
    seen = [first.stored.sequence]
    async with asyncio.timeout(20):
        while len(seen) < 20:
            seen.append((await anext(deliveries)).stored.sequence)
    assert len(set(seen)) == 20
    await deliveries.aclose()


async def test_close_gives_back_what_was_not_taken_at_once(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    session_id = new_session_id(source)
    one = await log.append(session_id, "in", message_record(source), expected=0)
    two = await log.append(session_id, "in", message_record(source), expected=one)
    spec = ConsumerSpec(ack_wait_s=60)
    draining = JetStreamInboundConsumer(connection, InMemoryBlobs(), spec)
    first = draining.deliveries()
    assert (await anext(first)).stored.sequence == one
    await draining.close()
    await first.aclose()
    other = JetStreamInboundConsumer(connection, InMemoryBlobs(), spec)
    second = other.deliveries()
    async with asyncio.timeout(20):
        assert (await anext(second)).stored.sequence == two
    await second.aclose()


async def test_two_consumers_share_the_records(connection: Connection, source: IdSource) -> None:
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    deliveries: asyncio.Queue[JetStreamDelivery] = asyncio.Queue()
    spec = ConsumerSpec(ack_wait_s=60)
    consumers = [JetStreamInboundConsumer(connection, InMemoryBlobs(), spec) for _ in range(2)]
    consuming = [asyncio.create_task(consume(consumer, deliveries)) for consumer in consumers]
    last, session_id = 0, new_session_id(source)
    for _ in range(50):
        last = await log.append(session_id, "in", message_record(source), expected=last)
    seen = [(await take(deliveries)).stored.sequence for _ in range(50)]
    assert sorted(seen) == list(range(1, 51))
    for consumer in consumers:
        await consumer.close()
    await asyncio.gather(*consuming)


async def test_delivery_comes_within_milliseconds_of_the_append(connection: Connection, source: IdSource) -> None:
    """Nothing waits for a batch to fill or for a pull request to expire."""
    log = JetStreamSessionLog(connection, InMemoryBlobs())
    consumer = JetStreamInboundConsumer(connection, InMemoryBlobs())
    deliveries: asyncio.Queue[JetStreamDelivery] = asyncio.Queue()
    consuming = asyncio.create_task(consume(consumer, deliveries))
    last, session_id = 0, new_session_id(source)
    delays = []
    for _ in range(20):
        last = await log.append(session_id, "in", message_record(source), expected=last)
        appended = asyncio.get_running_loop().time()
        await take(deliveries)
        delays.append(asyncio.get_running_loop().time() - appended)
    assert sorted(delays)[10] < HEARTBEAT_S / 2  # of twenty, so that one stall of the machine does not matter
    await consumer.close()
    await consuming
