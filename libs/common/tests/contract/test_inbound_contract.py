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
TRIES = 5
"""How often a machine may stall for longer than ``SHORT_S`` in the middle of what is tested."""


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
        async with asyncio.timeout(20):
            await task


async def take(deliveries: asyncio.Queue[Delivery], *, within_s: float = 20) -> Delivery:
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
        started = asyncio.get_running_loop().time()
        one = await world.sessions.append(session_id, "in", message_record(source), expected=0)
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
        for _ in range(TRIES):  # it may have been on its way again before the acknowledgement came
            try:
                late = await take(deliveries, within_s=SHORT_S * 2)
            except TimeoutError:
                break
            await late.ack()
        else:
            pytest.fail("it comes again and again")
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


async def stays_held(deliveries: asyncio.Queue[Delivery], held: Delivery) -> bool:
    """Whether its reports keep a delivery from coming again for twice its wait; it is acknowledged if they do."""
    for _ in range(8):
        try:
            again = await take(deliveries, within_s=SHORT_S / 4)
        except TimeoutError:
            await held.in_progress()
        else:
            await again.nak(0)
            return False
    await held.ack()
    return True


async def test_in_progress_keeps_the_record_with_its_holder(world: LogWorld, source: IdSource) -> None:
    session_id = new_session_id(source)
    async with delivering(world.open_inbound("brain", session_id, ack_wait_s=SHORT_S)) as deliveries:
        await world.sessions.append(session_id, "in", message_record(source), expected=0)
        for _ in range(TRIES):
            if await stays_held(deliveries, await take(deliveries)):
                return
        pytest.fail("no delivery was held for longer than its wait")


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
