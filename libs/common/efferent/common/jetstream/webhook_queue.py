"""Deliveries to webhook endpoints as they wait: a work queue of its own for each endpoint, so that none blocks another.

Stream ``WEBHOOKS`` holds what is not delivered yet, under ``webhook.<endpoint>``; each endpoint has a durable consumer.
A delivery that is to be tried again is negatively acknowledged with a delay: the schedule lives in the stream, and
whoever is there when it is due gets it. Stream ``WEBHOOK_FAILURES`` has one message for each endpoint that is failing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from efferent.common.domain.webhook_retries import FailureStreak
from efferent.common.jetstream import api, streams, subjects
from efferent.common.jetstream.appending import Append, Appender, own_message_id
from efferent.common.jetstream.connection import Connection, Message
from efferent.common.jetstream.reading import ID_HEADER, StreamReader
from efferent.common.ports import LogUnavailable, LogUnreadable

WAITING_MAX: Final = 10_000
"""Deliveries that may wait for one endpoint; what comes when there are as many is not delivered to it."""
WAITING_S: Final = 86_400.0
"""Longest time that a delivery waits."""
ACK_WAIT_S: Final = 15.0
"""How long an attempt may take before somebody else makes the next one."""
PULL_EXPIRES_S: Final = 30.0

_NS: Final = 1_000_000_000
_ANSWER_MARGIN_S: Final = 2.0
_DUPLICATE_WINDOW_S: Final = 600.0
_STORE_FAILED: Final = 10077
_QUEUE_FULL: Final = "per subject"
_NOTHING: Final = frozenset({"404", "408"})
_CONSUMER_NOT_FOUND: Final = 10014
_DELIVERED_TOKEN: Final = 4
_LONG_REPLY_TOKENS: Final = 11
"""With a domain and an account hash in front, the reply subject has two tokens more."""


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """One delivery that is due."""

    connection: Connection
    reply: str
    endpoint_id: str
    body: bytes
    attempt: int
    """How many times it was handed out, this time included. A crash in the middle of an attempt uses one up."""

    async def done(self) -> None:
        """Delivered, or given up: it is gone."""
        await self.connection.publish(self.reply, b"+ACK")

    async def again(self, delay_s: float) -> None:
        """Hand it out again after the delay, to whoever is there then."""
        await self.connection.publish(self.reply, b"-NAK " + orjson.dumps({"delay": int(delay_s * _NS)}))


class WebhookQueue:
    """Stream ``WEBHOOKS``."""

    def __init__(
        self, connection: Connection, *, waiting_max: int = WAITING_MAX, ack_wait_s: float = ACK_WAIT_S
    ) -> None:
        """``waiting_max``: deliveries that may wait for one endpoint."""
        self._connection = connection
        self._waiting_max = waiting_max
        self._ack_wait_s = ack_wait_s

    async def declare(self, *, replicas: int = 1) -> None:
        """Make the stream, or bring it up to date. Raises LogUnavailable, ApiError."""
        config = {
            "name": subjects.WEBHOOKS,
            "subjects": list(subjects.WEBHOOKS_SUBJECTS),
            "storage": "file",
            "retention": "workqueue",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_age": int(WAITING_S * _NS),
            "max_msgs_per_subject": self._waiting_max,
            "num_replicas": replicas,
            "duplicate_window": int(_DUPLICATE_WINDOW_S * _NS),
        }
        await streams.declare_one(self._connection, config)

    async def put(self, endpoint_id: str, event_id: str, body: bytes) -> bool:
        """Let a delivery wait; the same one again soon after changes nothing. False: too many wait already.

        Raises LogUnavailable.
        """
        headers = {ID_HEADER: f"{endpoint_id}.{event_id}"}

        async def once() -> bool:
            answer = await self._connection.request(
                subjects.webhook(endpoint_id), body, headers=headers, timeout_s=api.ANSWER_TIMEOUT_S
            )
            try:
                api.parse_answer(answer.data)
            except api.ApiError as error:
                if error.error == _STORE_FAILED and _QUEUE_FULL in error.description:
                    return False
                raise
            return True

        try:
            return await api.retrying(self._connection, api.Deadline.after(api.DEADLINE_S), once)
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error

    async def open(self, endpoint_id: str) -> None:
        """Make the endpoint's consumer, or bring it up to date. Raises LogUnavailable."""
        subject = subjects.webhook(endpoint_id)
        config = {
            "durable_name": endpoint_id,
            "name": endpoint_id,
            "filter_subject": subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self._ack_wait_s * _NS),
            "max_ack_pending": self._waiting_max,
            "max_deliver": -1,
            "replay_policy": "instant",
        }
        await self._call(
            f"CONSUMER.CREATE.{subjects.WEBHOOKS}.{endpoint_id}.{subject}",
            {"stream_name": subjects.WEBHOOKS, "config": config},
        )

    async def position(self) -> int:
        """Sequence of the newest delivery of the whole stream. Raises LogUnavailable."""
        info = await self._call(f"STREAM.INFO.{subjects.WEBHOOKS}", {})
        last: int = info["state"]["last_seq"]
        return last

    async def opened(self) -> set[str]:
        """The endpoints that have a consumer. Raises LogUnavailable."""
        names: list[str] = []
        while True:
            page = await self._call(f"CONSUMER.NAMES.{subjects.WEBHOOKS}", {"offset": len(names)})
            found = page.get("consumers") or []
            names += found
            if not found or len(names) >= page["total"]:
                return set(names)

    async def take(self, endpoint_id: str, *, within_s: float = PULL_EXPIRES_S) -> QueuedDelivery | None:
        """The next delivery that is due; None when there is none for a while. Raises LogUnavailable."""
        question = orjson.dumps({"batch": 1, "expires": int(within_s * _NS)})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.WEBHOOKS}.{endpoint_id}"
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        inbox = self._connection.new_inbox()
        # An inbox of its own: when this call is cancelled nobody listens there, and the server drops the request.
        subscription = await self._connection.subscribe(inbox, lambda message: _settle(answer, message))
        stop_listening = self._connection.on_change(lambda _: _settle(answer, None))
        try:
            if not await self._connection.publish(subject, question, reply=inbox):
                raise LogUnavailable("not connected")
            async with asyncio.timeout(within_s + _ANSWER_MARGIN_S):
                message = await answer
        except TimeoutError:
            return None
        finally:
            stop_listening()
            await subscription.end()
        if message.status in _NOTHING:
            return None
        if message.status is not None:
            raise LogUnavailable(f"a pull ended with {message.status} {message.headers.get('Description', '')}")
        return QueuedDelivery(self._connection, message.reply, endpoint_id, message.data, _delivered(message))

    async def remove(self, endpoint_id: str, *, reach: int) -> None:
        """Throw away the endpoint's consumer, and what waits for it up to a position.

        Repeating it is harmless. What comes after ``reach`` is kept: the endpoint may be wanted again by then. Raises
        LogUnavailable.
        """
        await self._call(
            f"STREAM.PURGE.{subjects.WEBHOOKS}", {"filter": subjects.webhook(endpoint_id), "seq": reach + 1}
        )
        await self._call(
            f"CONSUMER.DELETE.{subjects.WEBHOOKS}.{endpoint_id}", {}, harmless=frozenset({_CONSUMER_NOT_FOUND})
        )

    async def waiting(self, endpoint_id: str) -> int:
        """How many deliveries wait for the endpoint, retries included. Raises LogUnavailable."""
        subject = subjects.webhook(endpoint_id)
        info = await self._call(f"STREAM.INFO.{subjects.WEBHOOKS}", {"subjects_filter": subject})
        counts: dict[str, int] = info["state"].get("subjects") or {}
        return counts.get(subject, 0)

    async def _call(
        self, subject: str, body: dict[str, Any], *, harmless: frozenset[int] = frozenset()
    ) -> dict[str, Any]:
        try:
            return await api.call(self._connection, subject, body)
        except api.ApiError as error:
            if error.error in harmless:
                return {}
            raise LogUnavailable(str(error)) from error


class FailureStreaks:
    """Stream ``WEBHOOK_FAILURES``: the streak of each endpoint that is failing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reader = StreamReader(connection, subjects.WEBHOOK_FAILURES)
        self._appender = Appender(connection, self._reader)

    async def declare(self, *, replicas: int = 1) -> None:
        """Make the stream, or bring it up to date. Raises LogUnavailable, ApiError."""
        config = {
            "name": subjects.WEBHOOK_FAILURES,
            "subjects": list(subjects.WEBHOOK_FAILURES_SUBJECTS),
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "num_replicas": replicas,
            "allow_direct": True,
        }
        await streams.declare_one(self._connection, config)

    async def read(self, endpoint_id: str) -> tuple[FailureStreak | None, int]:
        """The streak and the sequence to fence the next write on. Raises LogUnavailable, LogUnreadable."""
        newest = await self._reader.last(subjects.webhook_failures(endpoint_id))
        if newest is None:
            return None, 0
        try:
            return FailureStreak.model_validate_json(newest.raw.payload), newest.raw.sequence
        except ValidationError as error:
            raise LogUnreadable(f"{newest.raw.subject}: {error.error_count()} problems") from error

    async def write(self, endpoint_id: str, streak: FailureStreak, *, expected: int) -> None:
        """Replace the streak. Raises LogConflict when somebody else did, LogUnavailable."""
        subject = subjects.webhook_failures(endpoint_id)
        payload = streak.model_dump_json().encode()
        await self._appender.append(Append(subject, payload, own_message_id(), subject, expected))

    async def clear(self, endpoint_id: str) -> None:
        """It does not fail any more. Raises LogUnavailable."""
        try:
            await api.call(
                self._connection,
                f"STREAM.PURGE.{subjects.WEBHOOK_FAILURES}",
                {"filter": subjects.webhook_failures(endpoint_id)},
            )
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error


def _settle(answer: "asyncio.Future[Message]", message: Message | None) -> None:
    """Hand over what came; None: the connection changed, and the request with it."""
    if answer.done():
        return
    if message is None:
        answer.set_exception(LogUnavailable("the connection was lost in between"))
    else:
        answer.set_result(message)


def _delivered(message: Message) -> int:
    """How often it was handed out, in the reply ``$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>....``."""
    tokens = message.reply.split(".")
    return int(tokens[_DELIVERED_TOKEN if len(tokens) < _LONG_REPLY_TOKENS else _DELIVERED_TOKEN + 2])
