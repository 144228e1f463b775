"""What the contract suite runs against: one implementation of every port of the log, all seeing the same records."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.ports import BlobStore, ControlLog, Feed, InboundConsumer, SessionLog


class ClosableInboundConsumer(InboundConsumer, Protocol):
    """An inbound consumer that can be ended."""

    async def close(self) -> None:
        """End ``deliveries``."""


class OpenInbound(Protocol):
    """Makes a consumer on the ``in`` side of one session; the same name shares the work."""

    def __call__(self, name: str, session_id: SessionId, *, ack_wait_s: float) -> ClosableInboundConsumer: ...


@dataclass(frozen=True, slots=True)
class LogWorld:
    """One implementation."""

    name: str
    blobs: BlobStore
    sessions: SessionLog
    control: ControlLog
    session_feed: Feed
    control_feed: Feed
    open_inbound: OpenInbound
    append_raw: Callable[[SessionId, bytes], Awaitable[None]]
    """Append bytes that are no record to the session's ``in`` side."""
