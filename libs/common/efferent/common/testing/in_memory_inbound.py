"""In-memory twin of the durable consumer: delivers again what is not acknowledged within the ack wait."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import StoredRecord
from efferent.common.ports import BlobStore, LogUnreadable
from efferent.common.testing.in_memory_log import stored_record
from efferent.common.testing.in_memory_stream import InMemoryStream

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class InMemoryDurable:
    """What the server keeps of a consumer. Consumers that share the work share this."""

    stream: InMemoryStream
    filter_subject: str = "session.*.in"
    ack_wait_s: float = 3.0
    position: int = 0
    due: list[int] = field(default_factory=list)
    """Sequences to deliver again, now."""
    pending: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    """Sequences that are delivered, or put off, and not acknowledged."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def next(self) -> int | None:
        """Take the next sequence to deliver; its ack wait starts now."""
        sequence = self._next()
        if sequence is not None:
            self.wait(sequence, self.ack_wait_s)
        return sequence

    def wait(self, sequence: int, seconds: float) -> None:
        """Deliver again after this time unless something happens before."""
        self.settle(sequence)
        self.pending[sequence] = asyncio.get_running_loop().call_later(seconds, self._again, sequence)

    def settle(self, sequence: int) -> None:
        """Never deliver this again."""
        timer = self.pending.pop(sequence, None)
        if timer is not None:
            timer.cancel()

    def _next(self) -> int | None:
        while self.due:
            sequence = self.due.pop(0)
            if self.stream.get(sequence) is not None:
                return sequence
        fresh = self.stream.matching(self.filter_subject, after=self.position)
        if not fresh:
            return None
        self.position = fresh[0].raw.sequence
        return self.position

    def _again(self, sequence: int) -> None:
        del self.pending[sequence]
        self.due.append(sequence)
        self.changed.set()


@dataclass(frozen=True, slots=True)
class InMemoryDelivery:
    """See the port ``Delivery``."""

    durable: InMemoryDurable
    session_id: SessionId
    stored: StoredRecord

    async def ack(self) -> None:
        """Never deliver it again."""
        self.durable.settle(self.stored.sequence)

    async def nak(self, delay_s: float) -> None:
        """Deliver it again after the delay."""
        self.durable.wait(self.stored.sequence, delay_s)

    async def in_progress(self) -> None:
        """Start the ack wait anew."""
        self.durable.wait(self.stored.sequence, self.durable.ack_wait_s)


class InMemoryInboundConsumer:
    """See the port ``InboundConsumer``."""

    def __init__(self, durable: InMemoryDurable, blobs: BlobStore, *, unreadable_delay_s: float = 30.0) -> None:
        self._durable = durable
        self._blobs = blobs
        self._unreadable_delay_s = unreadable_delay_s
        self._closed = False

    async def deliveries(self) -> AsyncGenerator[InMemoryDelivery]:
        """Inbound records as they come, until ``close``."""
        appended = self._durable.stream.watch()
        self._durable.changed = appended
        try:
            while not self._closed:
                appended.clear()
                sequence = self._durable.next()
                if sequence is None:
                    await appended.wait()
                    continue
                delivery = await self._readable(sequence)
                if delivery is not None:
                    yield delivery
        finally:
            self._durable.stream.unwatch(appended)

    async def close(self) -> None:
        """End ``deliveries``."""
        self._closed = True
        self._durable.changed.set()

    async def _readable(self, sequence: int) -> InMemoryDelivery | None:
        kept = self._durable.stream.get(sequence)
        if kept is None:
            return None
        try:
            stored = await stored_record(kept.raw, self._blobs)
        except LogUnreadable:
            _log.error("a record cannot be read", extra={"subject": kept.raw.subject, "sequence": sequence})
            self._durable.wait(sequence, self._unreadable_delay_s)
            return None
        return InMemoryDelivery(self._durable, SessionId(kept.raw.subject.split(".")[1]), stored)
