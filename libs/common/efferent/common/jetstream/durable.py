"""Durable consumers for services that react to records: what they are, and how they are declared.

Who reads from them is up to the service; a declared consumer keeps its place while nobody does.
"""

from dataclasses import dataclass
from typing import Any, Final

from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream import api
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.subjects import Stream
from efferent.common.ports import LogUnavailable

_NS: Final = 1_000_000_000
_START: Final = ("deliver_policy", "opt_start_time")
"""The settings that say where a consumer begins."""


@dataclass(frozen=True, slots=True)
class DurableSpec:
    """A durable consumer that all replicas of a service share: each record is delivered to one of them."""

    stream: Stream
    durable: str
    filter_subjects: tuple[str, ...]
    ack_wait_s: float = 10.0
    """How long a record may stay unanswered before it is delivered again."""
    ack_pending_max: int = 1_000
    """Records that may be unanswered at once, all replicas together."""
    start_at: Timestamp | None = None
    """Where a consumer begins that did not exist, in the time of the stream's leader; None: with the whole history."""

    def configuration(self) -> dict[str, Any]:
        """The consumer as JetStream's API wants it: delivered again for ever until it is acknowledged."""
        return {
            "durable_name": self.durable,
            "name": self.durable,
            "filter_subjects": list(self.filter_subjects),
            "deliver_policy": "all" if self.start_at is None else "by_start_time",
            "opt_start_time": self.start_at,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait_s * _NS),
            "max_ack_pending": self.ack_pending_max,
            "max_deliver": -1,
            "replay_policy": "instant",
        }


async def declare(connection: Connection, spec: DurableSpec) -> None:
    """Make the consumer, or bring an existing one up to date, which keeps its start. Raises LogUnavailable."""
    try:
        start = await _existing_start(connection, spec)
        body = {"stream_name": spec.stream, "config": spec.configuration() | start}
        await api.call(connection, f"CONSUMER.CREATE.{spec.stream}.{spec.durable}", body)
    except api.ApiError as error:
        raise LogUnavailable(str(error)) from error


async def _existing_start(connection: Connection, spec: DurableSpec) -> dict[str, Any]:
    """Where the consumer began, which the server does not let anybody change; nothing when there is none yet."""
    try:
        answer = await api.call(connection, f"CONSUMER.INFO.{spec.stream}.{spec.durable}", {})
    except api.ApiError as error:
        if error.error == api.CONSUMER_NOT_FOUND:
            return {}
        raise
    return {key: answer["config"].get(key) for key in _START}


async def acknowledged_up_to(connection: Connection, stream: Stream, durable: str) -> int:
    """Up to which sequence of the stream everything of a consumer is acknowledged. Raises LogUnavailable."""
    try:
        answer = await api.call(connection, f"CONSUMER.INFO.{stream}.{durable}", {})
    except api.ApiError as error:
        raise LogUnavailable(str(error)) from error
    return int(answer["ack_floor"]["stream_seq"])
