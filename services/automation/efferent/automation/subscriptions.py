"""Records come in here: FastStream subscribes to the durable consumers and hands each record to its reactor.

The only module that knows FastStream, which takes a moment to import: it is imported when the service starts.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from efferent.automation.reactor import Later, Need, RecordSubscription
from efferent.common.domain import timestamp
from efferent.common.jetstream import api, durable, subjects
from efferent.common.jetstream.connection import Connection, LibraryError
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.reading import StreamReader
from efferent.common.ports import LogUnavailable, RawRecord
from efferent.common.runtime.settings import NatsSettings

if TYPE_CHECKING:
    from faststream.nats import NatsBroker, NatsMessage

FAILED_DELAY_S: Final = 1.0
FAILED_DELAY_MAX_S: Final = 60.0
"""An error brings the record again after a delay that doubles with each delivery, up to this."""

CLOCKS_APART_S: Final = 2.0
"""How far the clocks of two servers of a cluster may be apart: one takes control records, another those of sessions."""
WATCH_CHECK_S: Final = 10.0
"""How long at most until a need is seen whose live record was lost."""
PULL_WAIT_S: Final = 5.0
DRAIN_WITHIN_S: Final = 0.4
_RECONNECT_WAIT_S: Final = 1
_CONNECT_TIMEOUT_S: Final = 2

logger = logging.getLogger("efferent.automation")


class Subscriptions:
    """All subscriptions of one process, on connections of their own."""

    def __init__(
        self,
        connection: Connection,
        nats: NatsSettings,
        wanted: Sequence[RecordSubscription],
        *,
        clocks_apart_s: float = CLOCKS_APART_S,
    ) -> None:
        self._clocks_apart_s = clocks_apart_s
        self._connection = connection
        self._nats = nats
        self._reader = StreamReader(connection, subjects.CONTROL)
        self._needed = [subscription for subscription in wanted if subscription.need is None]
        self._waiting: defaultdict[Need, list[RecordSubscription]] = defaultdict(list)
        for subscription in wanted:
            if subscription.need is not None:
                self._waiting[subscription.need].append(subscription)
        self._looked_to = 0
        """Up to here no record of the control plane meets a need that waits."""
        self._brokers: list[NatsBroker] = []
        self._watching: asyncio.Task[None] | None = None

    async def declare(self) -> None:
        """Make the consumers that are needed, or bring them up to date. Raises LogUnavailable."""
        for subscription in self._needed:
            await durable.declare(self._connection, subscription.consumer)
        self._looked_to = await self._reader.last_sequence(subjects.all_of(subjects.CONTROL))
        for need in tuple(self._waiting):
            first = await self._first_that_meets(need)
            if first is not None:
                await self._declare_since(self._waiting[need], first)
                self._needed += self._waiting.pop(need)

    async def start(self) -> None:
        """Begin to deliver, and wait for what is not needed yet."""
        if self._needed:
            await self._deliver(self._needed)
        if self._waiting:
            self._watching = asyncio.create_task(self._watch(), name="needs of subscriptions")

    async def drain(self) -> None:
        """Deliver nothing more and let handlers end; what they do not finish is delivered again."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        brokers, self._brokers = self._brokers, []
        await asyncio.gather(*map(_stop, brokers))

    async def _first_that_meets(self, need: Need) -> RawRecord | None:
        async with contextlib.aclosing(self._reader.pages(need.pattern, after=0, reach=None)) as pages:
            async for page in pages:
                first = _first_in(page, need)
                if first is not None:
                    return first
        return None

    async def _declare_since(self, subscriptions: Sequence[RecordSubscription], first: RawRecord) -> None:
        """Make consumers of what comes after a record. Raises LogUnavailable.

        All replicas say the same start: it is the log's, and the record is the first of its kind for all of them.
        """
        found = await self._reader.next(first.subject, after=first.sequence - 1)
        since = None if found is None else timestamp.later(found.taken_at, -self._clocks_apart_s)
        for subscription in subscriptions:
            await durable.declare(self._connection, replace(subscription.consumer, start_at=since))

    async def _deliver(self, subscriptions: Sequence[RecordSubscription]) -> None:
        broker = build_broker(self._nats, subscriptions)
        self._brokers.append(broker)
        try:
            await broker.start()
        except Exception:
            self._brokers.remove(broker)
            await _stop(broker)
            raise

    async def _watch(self) -> None:
        """Begin with each subscription when its need is met; tried until it succeeds."""
        deadline = api.Deadline.never()
        while self._waiting:
            try:
                await self._follow_needs()
            except (LogUnavailable, LibraryError) as error:
                logger.warning("subscriptions that are needed now cannot begin: %s", error)
                await deadline.pause(self._connection, error)
            except Exception as error:
                # A defect: nothing of them is handled until the next try, instead of never and without a word.
                logger.error("subscriptions that are needed now could not begin", exc_info=error)
                await deadline.pause(self._connection, error)

    async def _follow_needs(self) -> None:
        """Follow the control plane until nothing waits any more. What raises can be repeated."""
        feed = JetStreamFeed(self._connection, subjects.CONTROL, check_interval_s=WATCH_CHECK_S)
        async with contextlib.aclosing(feed.follow(after=self._looked_to)) as batches:
            async for batch in batches:
                for need in tuple(self._waiting):
                    first = _first_in(batch, need)
                    if first is not None:
                        await self._declare_since(self._waiting[need], first)
                        await self._deliver(self._waiting[need])
                        del self._waiting[need]
                if not self._waiting:
                    return
                self._looked_to = batch[-1].sequence


def _first_in(records: Sequence[RawRecord], need: Need) -> RawRecord | None:
    return next(filter(need.is_met_by, records), None)


async def _stop(broker: "NatsBroker") -> None:
    try:
        await broker.stop()
    except LibraryError as error:  # without a server nothing more is delivered either
        logger.info("the subscriptions end without the log: %s", error)


def build_broker(nats: NatsSettings, wanted: Sequence[RecordSubscription]) -> "NatsBroker":
    """A broker with one subscriber per consumer, not yet connected."""
    from faststream import AckPolicy
    from faststream.nats import JStream, NatsBroker, NatsToken, PullSub

    token = nats.token_text()
    broker = NatsBroker(
        nats.servers(),
        name="automation",
        security=NatsToken(token) if token else None,
        connect_timeout=_CONNECT_TIMEOUT_S,
        reconnect_time_wait=_RECONNECT_WAIT_S,
        max_reconnect_attempts=-1,
        graceful_timeout=DRAIN_WITHIN_S,
        ack_policy=AckPolicy.MANUAL,
        logger=None,
        apply_types=False,
    )
    for subscription in wanted:
        consumer = subscription.consumer
        subscriber = broker.subscriber(
            consumer.filter_subjects[0],
            durable=consumer.durable,
            stream=JStream(consumer.stream, declare=False),
            pull_sub=PullSub(batch_size=subscription.in_flight_max, timeout=PULL_WAIT_S),
            max_workers=subscription.in_flight_max,
            title=consumer.durable,
        )
        subscriber(_handler(subscription), decoder=_undecoded)
    return broker


def _handler(subscription: RecordSubscription) -> "Callable[[NatsMessage], Awaitable[None]]":
    async def handle(message: "NatsMessage") -> None:
        raw = message.raw_message
        record = RawRecord(raw.metadata.sequence.stream, raw.subject, raw.data, previous=0)
        try:
            await subscription.handle(record)
        except Later as later:
            logger.info("a record is handled later: %s", later, extra=_where(subscription, record))
            await message.nack(delay=later.delay_s)
        except LogUnavailable as error:
            logger.warning("the log does not answer: %s", error, extra=_where(subscription, record))
            await message.nack(delay=_delay_s(raw.metadata.num_delivered))
        except Exception as error:
            logger.error("a record could not be handled", exc_info=error, extra=_where(subscription, record))
            await message.nack(delay=_delay_s(raw.metadata.num_delivered))
        else:
            await message.ack()

    return handle


async def _undecoded(message: "NatsMessage") -> "NatsMessage":
    """The message itself: what a payload means is the codecs' business."""
    return message


def _delay_s(delivered: int) -> float:
    return min(FAILED_DELAY_S * 2.0 ** min(delivered - 1, 16), FAILED_DELAY_MAX_S)


def _where(subscription: RecordSubscription, record: RawRecord) -> dict[str, object]:
    return {"consumer": subscription.consumer.durable, "subject": record.subject, "sequence": record.sequence}
