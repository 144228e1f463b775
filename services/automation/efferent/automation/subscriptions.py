"""Records come in here: FastStream subscribes to the durable consumers and hands each record to its reactor.

The only module that knows FastStream, which takes a moment to import: it is imported when the service starts.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from efferent.automation.reactor import Later, RecordSubscription
from efferent.common.jetstream import durable
from efferent.common.jetstream.connection import Connection, LibraryError
from efferent.common.ports import LogUnavailable, RawRecord
from efferent.common.runtime.settings import NatsSettings

if TYPE_CHECKING:
    from faststream.nats import NatsBroker, NatsMessage

FAILED_DELAY_S: Final = 1.0
FAILED_DELAY_MAX_S: Final = 60.0
"""An error brings the record again after a delay that doubles with each delivery, up to this."""

PULL_WAIT_S: Final = 5.0
DRAIN_WITHIN_S: Final = 0.4
_RECONNECT_WAIT_S: Final = 1
_CONNECT_TIMEOUT_S: Final = 2

logger = logging.getLogger("efferent.automation")


class Subscriptions:
    """All subscriptions of one process, on a connection of their own."""

    def __init__(self, connection: Connection, nats: NatsSettings, wanted: Sequence[RecordSubscription]) -> None:
        self._connection = connection
        self._nats = nats
        self._wanted = tuple(wanted)
        self._broker: NatsBroker | None = None

    async def declare(self) -> None:
        """Make the consumers, or bring them up to date. Raises LogUnavailable."""
        for subscription in self._wanted:
            await durable.declare(self._connection, subscription.consumer)

    async def start(self) -> None:
        """Begin to deliver."""
        if not self._wanted:
            return
        self._broker = build_broker(self._nats, self._wanted)
        await self._broker.start()

    async def drain(self) -> None:
        """Deliver nothing more and let handlers end; what they do not finish is delivered again."""
        if self._broker is not None:
            broker, self._broker = self._broker, None
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
