"""Token deltas: what a reader may see of an event that is still being made. Published, never stored."""

from collections.abc import Awaitable, Callable

import orjson

from efferent.brain.ports import TextDelta, ThinkingStarted
from efferent.common.domain.decide_turn import preview_id
from efferent.common.domain.ids import ClaimId, EventId

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

    async def write(self, chunk: ThinkingStarted | TextDelta) -> None:
        """Publish what the chunk adds."""
        match chunk:
            case ThinkingStarted(block=block):
                await self._start(block, "agent.thinking")
            case TextDelta(block=block, text=text):
                event_id = await self._start(block, "agent.message")
                content = {"type": "text", "text": text}
                delta = {"type": "content_delta", "index": 0, "content": content}
                await self._send({"type": "event_delta", "event_id": event_id, "delta": delta})

    async def _start(self, block: int, event_type: str) -> EventId:
        known = self._started.get(block)
        if known is not None:
            return known
        event_id = preview_id(self._claim_id, self._span_id, block)
        self._started[block] = event_id
        await self._send({"type": "event_start", "event": {"type": event_type, "id": event_id}})
        return event_id

    async def _send(self, event: dict[str, object]) -> None:
        await self._publish(orjson.dumps({"after": self._after, "thread": None, "event": event}))
