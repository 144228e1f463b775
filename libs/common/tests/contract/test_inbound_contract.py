"""What every shared consumer of inbound records promises: delivered until acknowledged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from efferent.common.codec import RECORD_BYTES_MAX
from efferent.common.ports import Delivery, IdSource
from efferent.common.testing.log_world import ClosableInboundConsumer, LogWorld
from efferent.common.testing.records import message_record, new_session_id, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG_S = 30.0
SHORT_S = 0.4


@asynccontextmanager
async def delivering(consumer: ClosableInboundConsumer) -> AsyncIterator[asyncio.Queue[Delivery]]:
    """The consumer's deliveries as a queue."""
    deliveries: asyncio.Queue[Delivery] = asyncio.Queue()

    async def consume() -> None:
        async for delivery in consumer.deliveries():
            deliveries.put_nowait(delivery)

    task = asyncio.create_task(consume())
    try:
        yield deliveries
    finally:
        await consumer.close()
        async with asyncio.timeout(5):
            await task


async def take(deliveries: asyncio.Queue[Delivery], *, within_s: float = 10) -> Delivery:
    """The next delivery."""
    async with asyncio.timeout(within_s):
        return await deliveries.get()


async def test_record_appended_before_and_after_the_start_is_delivered(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    one = await world.sessions.append(session_id, "in", message_record(source, "one"), expected=0)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=LONG_S)) as deliveries:
        first = await take(deliveries)
        assert (first.session_id, first.stored.sequence, text_of(first.stored.record)) == (session_id, one, "one")
        await first.ack()
        two = await world.sessions.append(session_id, "in", message_record(source, "two"), expected=one)
        second = await take(deliveries)
        assert (second.stored.sequence, second.stored.previous, second.stored.side) == (two, one, "in")
        await second.ack()


async def test_records_of_the_platform_are_not_delivered(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    one = await world.sessions.append(session_id, "out", message_record(source), expected=0)
    two = await world.sessions.append(session_id, "in", message_record(source), expected=one)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=LONG_S)) as deliveries:
        delivery = await take(deliveries)
        await delivery.ack()
        assert delivery.stored.sequence == two


async def test_record_that_is_not_acknowledged_comes_again(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as deliveries:
        one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
        started = asyncio.get_running_loop().time()
        await take(deliveries)
        again = await take(deliveries)
        assert asyncio.get_running_loop().time() - started >= SHORT_S * 0.9
        assert again.stored.sequence == one
        await again.ack()


async def test_acknowledged_record_never_comes_again(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as deliveries:
        one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
        await (await take(deliveries)).ack()
        with pytest.raises(TimeoutError):
            await take(deliveries, within_s=SHORT_S * 2)
        assert await world.sessions.last_sequence(session_id) == one


async def test_nak_delivers_again_after_its_delay(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=LONG_S)) as deliveries:
        await world.sessions.append(session_id, "in", message_record(source), expected=0)
        first = await take(deliveries)
        started = asyncio.get_running_loop().time()
        await first.nak(SHORT_S)
        again = await take(deliveries)
        assert asyncio.get_running_loop().time() - started >= SHORT_S * 0.9
        await again.ack()


async def test_in_progress_keeps_the_record_with_its_holder(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as deliveries:
        await world.sessions.append(session_id, "in", message_record(source), expected=0)
        held = await take(deliveries)
        for _ in range(8):
            with pytest.raises(TimeoutError):
                await take(deliveries, within_s=SHORT_S / 4)
            await held.in_progress()
        await held.ack()


async def test_record_of_a_consumer_that_died_goes_to_another(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as first:
        await take(first)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as second:
        delivery = await take(second)
        assert delivery.stored.sequence == one
        await delivery.ack()


async def test_large_record_is_delivered_whole(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    text = "x" * (RECORD_BYTES_MAX + 1)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=LONG_S)) as deliveries:
        await world.sessions.append(session_id, "in", message_record(source, text), expected=0)
        delivery = await take(deliveries)
        assert text_of(delivery.stored.record) == text
        await delivery.ack()


async def test_unreadable_record_is_reported_without_content_and_does_not_block_the_next(
    world: LogWorld, source: IdSource, reports: "Reports"
) -> None:
    session_id = new_session_id(source)
    await world.append_raw(session_id, b"secret words of the future")
    unreadable = await world.sessions.last_sequence(session_id)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=LONG_S)) as deliveries:
        one = await world.sessions.append(session_id, "in", message_record(source), expected=unreadable)
        delivery = await take(deliveries)
        assert delivery.stored.sequence == one
        await delivery.ack()
        first, again = await reports.take(), await reports.take()  # delivered again: never terminated
    assert vars(first)["sequence"] == vars(again)["sequence"] == unreadable
    assert "secret" not in str(vars(first))


class Reports(logging.Handler):
    """What is logged, as it comes."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._queue: asyncio.Queue[logging.LogRecord] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self._queue.put_nowait(record)

    async def take(self) -> logging.LogRecord:
        """The next one."""
        async with asyncio.timeout(10):
            return await self._queue.get()


@pytest.fixture
def reports() -> Iterator[Reports]:
    """Errors logged during the test."""
    handler = Reports()
    logging.getLogger("efferent").addHandler(handler)
    yield handler
    logging.getLogger("efferent").removeHandler(handler)
