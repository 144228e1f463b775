"""Token deltas: what a reader may see of an event that is still being made. Published, never stored.

Everything that is known in one moment (a model's stream is read in pieces of many chunks) travels in one message, one
preview a line.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import orjson

from efferent.brain.ports import TextDelta, ThinkingStarted
from efferent.common.domain.content import TextBlock
from efferent.common.domain.events.preview import ContentDelta, EventDelta, EventStart, Preview, PreviewEvent
from efferent.common.domain.ids import ClaimId, EventId
from efferent.common.domain.turn_events import preview_id

MESSAGE_BYTES_MAX: Final = 64 * 1024
"""Previews of one moment beyond this are sent as another message."""

PublishDelta = Callable[[bytes], Awaitable[object]]


class PreviewWriter:
    """Turns the chunks of one model request into previews. Each names the record that it follows."""

    def __init__(self, publish: PublishDelta, *, after: int, claim_id: ClaimId, span_id: EventId) -> None:
        """``after``: sequence of the record that opened the span."""
        self._publish = publish
        self._after = after
        self._claim_id = claim_id
        self._span_id = span_id
        self._started: dict[int, EventId] = {}
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._sending: asyncio.Task[None] | None = None

    async def write(self, chunk: ThinkingStarted | TextDelta) -> None:
        """Take in what the chunk adds; it is published with everything else of this moment."""
        match chunk:
            case ThinkingStarted(block=block):
                self._start(block, "agent.thinking")
            case TextDelta(block=block, text=text):
                event_id = self._start(block, "agent.message")
                delta = ContentDelta(index=0, content=TextBlock(text=text))
                self._add(EventDelta(event_id=event_id, delta=delta))
        if self._waiting_bytes > MESSAGE_BYTES_MAX:
            await self.flush()
        elif self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send())

    async def flush(self) -> None:
        """Publish what waits. To be called after the last chunk: the record that follows must come after it."""
        if self._sending is not None:
            await self._sending
        await self._send()

    async def _send(self) -> None:
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            await self._publish(b"\n".join(waiting))

    def _start(self, block: int, event_type: Literal["agent.message", "agent.thinking"]) -> EventId:
        known = self._started.get(block)
        if known is not None:
            return known
        event_id = preview_id(self._claim_id, self._span_id, block)
        self._started[block] = event_id
        self._add(EventStart(event=Preview(type=event_type, id=event_id)))
        return event_id

    def _add(self, event: PreviewEvent) -> None:
        preview = orjson.dumps({"after": self._after, "thread": None, "event": event.model_dump()})
        self._waiting.append(preview)
        self._waiting_bytes += len(preview)
