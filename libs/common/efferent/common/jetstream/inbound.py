"""A durable pull consumer that several processes share, and its deliveries as they come.

Standing pull requests are kept at the server, so a record is delivered the moment it is appended. Everything that can
end a pull request (its expiry, a lost connection, a new leader, a consumer that is gone) ends in the same way: the
consumer is declared again and new requests are sent.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import StoredRecord
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection, Message, RequestFailed, Subscription
from efferent.common.jetstream.reading import EXPECTED_HEADER
from efferent.common.jetstream.session_log import RecordPayloads
from efferent.common.ports import BlobStore, LogUnavailable, LogUnreadable, RawRecord

BRAIN_DURABLE: Final = "brain"
ACK_WAIT_S: Final = 3.0
ACK_PENDING_MAX: Final = 20_000
PULL_BATCH: Final = 256
PULL_EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 1.0
HEARTBEATS_MISSED_MAX: Final = 3
UNREADABLE_DELAY_S: Final = 30.0
DRAIN_WITHIN_S: Final = 1.0

_NS: Final = 1_000_000_000
_SEQUENCE_TOKEN: Final = 5
_LONG_REPLY_TOKENS: Final = 11
"""With a domain and an account hash in front, the reply subject has two tokens more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable consumer on ``SESSIONS``."""

    durable: str = BRAIN_DURABLE
    filter_subject: str = subjects.SESSIONS_IN
    ack_wait_s: float = ACK_WAIT_S
    ack_pending_max: int = ACK_PENDING_MAX

    def configuration(self) -> dict[str, Any]:
        """The consumer as JetStream's API wants it: delivered again for ever until it is acknowledged."""
        return {
            "durable_name": self.durable,
            "name": self.durable,
            "filter_subject": self.filter_subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait_s * _NS),
            "max_ack_pending": self.ack_pending_max,
            "max_deliver": -1,
            "replay_policy": "instant",
        }


@dataclass(frozen=True, slots=True)
class JetStreamDelivery:
    """One delivery of one record; see the port ``Delivery``."""

    connection: Connection
    reply: str
    session_id: SessionId
    stored: StoredRecord

    async def ack(self) -> None:
        """Handled. When this gets lost with the connection, the record comes again."""
        await self.connection.publish(self.reply, b"+ACK")

    async def nak(self, delay_s: float) -> None:
        """Deliver it again after the delay."""
        await self.connection.publish(self.reply, _nak(delay_s))

    async def in_progress(self) -> None:
        """Start the ack wait anew."""
        await self.connection.publish(self.reply, b"+WPI")


class JetStreamInboundConsumer:
    """See the port ``InboundConsumer``. One per process; ``deliveries`` is iterated once."""

    def __init__(
        self,
        connection: Connection,
        blobs: BlobStore,
        spec: ConsumerSpec | None = None,
        *,
        batch: int = PULL_BATCH,
        unreadable_delay_s: float = UNREADABLE_DELAY_S,
    ) -> None:
        """``batch``: records that may wait here for their reader; the rest waits at the server."""
        self._connection = connection
        self._payloads = RecordPayloads(blobs)
        self._spec = spec or ConsumerSpec()
        self._unreadable_delay_s = unreadable_delay_s
        self._pulls = _Pulls(connection, self._spec.durable, batch)
        self._closed = False

    async def declare(self) -> None:
        """Make the consumer, or bring an existing one up to date. Raises LogUnavailable."""
        body = {"stream_name": subjects.SESSIONS, "config": self._spec.configuration()}
        try:
            await api.call(
                self._connection,
                f"CONSUMER.CREATE.{subjects.SESSIONS}.{self._spec.durable}.{self._spec.filter_subject}",
                body,
            )
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error

    async def deliveries(self) -> AsyncGenerator[JetStreamDelivery]:
        """Inbound records as they come, until ``close``. One that cannot be read is reported and comes again later."""
        keeping = asyncio.create_task(self._keep_pulling(), name=f"pulls of consumer {self._spec.durable}")
        try:
            while not self._closed:
                message = await self._pulls.take()
                if message is None:
                    break
                delivery = await self._readable(message)
                if delivery is not None:
                    yield delivery
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def close(self) -> None:
        """End ``deliveries``. What was handed out can still be acknowledged; what was not comes again at once."""
        self._closed = True
        for message in await self._pulls.end():
            await self._connection.publish(message.reply, b"-NAK")

    async def _keep_pulling(self) -> None:
        deadline = api.Deadline.never()
        while True:
            try:
                await self.declare()
                await self._pulls.run()
            except (LogUnavailable, RequestFailed) as error:
                _log.warning("consumer %s: %s", self._spec.durable, error)
                await deadline.pause(self._connection, error)
            except Exception as error:
                # A defect: nothing is delivered until the next try, instead of never again and without a word.
                _log.error("consumer %s failed", self._spec.durable, exc_info=error)
                await deadline.pause(self._connection, error)

    async def _readable(self, message: Message) -> JetStreamDelivery | None:
        try:
            session_id, _ = subjects.parse_session(message.subject)
            raw = RawRecord(_sequence(message.reply), message.subject, message.data, _previous(message))
            stored = await self._payloads.stored(raw)
        except (LogUnreadable, subjects.BadSubject):
            _log.error(
                "a record cannot be read; it stays in the log and is delivered again",
                extra={"subject": message.subject, "sequence": _sequence(message.reply)},
            )
            await self._connection.publish(message.reply, _nak(self._unreadable_delay_s))
            return None
        return JetStreamDelivery(self._connection, message.reply, session_id, stored)


class _Pulls:
    """Keeps pull requests standing: what they may still bring plus what waits here is never more than the batch."""

    def __init__(self, connection: Connection, durable: str, batch: int) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.SESSIONS}.{durable}"
        self._batch = batch
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._is_ending = False
        self._standing = 0
        """Records that the requests sent so far may still bring."""
        self._changed = asyncio.Event()
        self._failed: str | None = None
        self._heard_s = 0.0

    async def take(self) -> Message | None:
        """The next delivery; None after ``end``."""
        message = await self._waiting.get()
        if self._is_due():
            self._changed.set()
        return message

    async def end(self) -> list[Message]:
        """End the reader; returns what it has not taken, with what was on its way."""
        self._is_ending = True
        if self._subscription is not None:
            await self._subscription.drain(self._connection, DRAIN_WITHIN_S)
        left = []
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                message = self._waiting.get_nowait()
                if message is not None:
                    left.append(message)
        self._waiting.put_nowait(None)
        return left

    async def run(self) -> None:
        """Keep requests standing until something ends them all. Raises RequestFailed.

        Each run has an inbox of its own: nobody listens to an earlier run's any more, so the server drops its requests.
        """
        self._standing = 0
        self._failed = None
        self._heard_s = _now_s()
        inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(inbox, self._deliver)
        stop_listening = self._connection.on_change(self._connection_changed)
        try:
            while self._failed is None:
                self._changed.clear()
                if self._is_due():
                    await self._ask(inbox)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._changed.wait()
                if self._standing and _now_s() - self._heard_s > HEARTBEAT_S * HEARTBEATS_MISSED_MAX:
                    self._failed = "the consumer is silent"
            raise RequestFailed(self._failed)
        finally:
            stop_listening()
            await self._subscription.end()

    def _room(self) -> int:
        return self._batch - self._standing - self._waiting.qsize()

    def _is_due(self) -> bool:
        """Whether half of the batch is used up: one request per half batch, not one per record."""
        return not self._is_ending and self._room() * 2 >= self._batch

    async def _ask(self, inbox: str) -> None:
        room = self._room()
        self._standing += room
        question = {"batch": room, "expires": int(PULL_EXPIRES_S * _NS), "idle_heartbeat": int(HEARTBEAT_S * _NS)}
        await self._connection.publish(self._subject, orjson.dumps(question), reply=inbox)

    def _deliver(self, message: Message) -> None:
        self._heard_s = _now_s()
        match message.status:
            case None:
                self._standing = max(self._standing - 1, 0)
                self._waiting.put_nowait(message)
                if self._is_due():
                    self._changed.set()
            case "100":
                pass
            case "408":
                unused = int(message.headers.get("Nats-Pending-Messages", 0))
                self._standing = max(self._standing - unused, 0)
                self._changed.set()
            case status:
                self._failed = f"a pull ended with {status} {message.headers.get('Description', '')}"
                self._changed.set()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._failed = "the connection was lost in between"
            self._changed.set()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _nak(delay_s: float) -> bytes:
    return b"-NAK " + orjson.dumps({"delay": int(delay_s * _NS)})


def _sequence(reply: str) -> int:
    """The record's sequence in the reply subject ``$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>....``."""
    tokens = reply.split(".")
    return int(tokens[_SEQUENCE_TOKEN if len(tokens) < _LONG_REPLY_TOKENS else _SEQUENCE_TOKEN + 2])


def _previous(message: Message) -> int:
    return int(message.headers.get(EXPECTED_HEADER, 0))
