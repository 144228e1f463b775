"""What the contract suite runs against: one implementation of every port of the log, all seeing the same records."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from efferent.common.domain.ids import SessionId
from efferent.common.ports import BlobStore, ControlLog, Feed, InboundConsumer, SessionLog

REPLICAS_LAG_S_MAX: Final = 20.0


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
    is_replicated: bool
    """Reads may be answered by a replica that lags: it shows what was removed for a moment more."""
    blobs: BlobStore
    sessions: SessionLog
    control: ControlLog
    session_feed: Feed
    control_feed: Feed
    open_inbound: OpenInbound
    append_raw: Callable[[SessionId, bytes], Awaitable[None]]
    """Append bytes that are no record to the session's ``in`` side."""

    async def read_after_removal[T](self, read: Callable[[], AsyncIterator[T]], wanted: list[T]) -> list[T]:
        """What a read finds once every removal before it shows: at once, or ``wanted`` after a while with replicas.

        A read that has not become ``wanted`` within ``REPLICAS_LAG_S_MAX`` is returned as it is.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REPLICAS_LAG_S_MAX
        while True:
            found = [item async for item in read()]
            if found == wanted or not self.is_replicated or loop.time() > deadline:
                return found
