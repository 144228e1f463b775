"""Previews (token deltas) of one watched session: kept in step with the log.

A preview names the record that it follows. It waits here until that record has passed, and it is dropped once its
final event has passed or its model request has ended. Previews are best effort, but what is delivered is always a
prefix of the final text: when one is dropped, the later ones of the same event are dropped too.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from efferent.gateway.sessions.public_events import PreviewFrame, PublicEvent

HELD_MAX: Final = 4_096
"""Previews that wait for their record; one more drops all that wait."""
FINISHED_MAX: Final = 256
"""Events remembered as final or broken."""

_SPAN_END: Final = "span.model_request_end"
_PREVIEWED: Final = frozenset({"agent.message", "agent.thinking"})


class PreviewHold:
    """Decides when a session's previews may go out."""

    def __init__(self, *, held_max: int = HELD_MAX) -> None:
        self._held: deque[PreviewFrame] = deque()
        self._held_max = held_max
        self._passed = 0
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._request_ended: dict[str | None, int] = {}

    def arrive(self, preview: PreviewFrame) -> Sequence[PreviewFrame]:
        """Take a preview in; returns what may go out now."""
        if self._is_over(preview):
            return ()
        if preview.after <= self._passed and not self._held:
            return (preview,)
        if len(self._held) >= self._held_max:
            for held in (*self._held, preview):
                self._close(held.event_id)
            self._held.clear()
            return ()
        self._held.append(preview)
        return ()

    def record_passed(self, sequence: int, events: Sequence[PublicEvent]) -> Sequence[PreviewFrame]:
        """A record went out; returns the previews that waited for it."""
        self._passed = sequence
        for event in events:
            if event.type in _PREVIEWED:
                self._close(event.id)
            elif event.type == _SPAN_END:
                self._request_ended[event.thread] = sequence
        if not self._held:
            return ()
        ready = []
        while self._held and self._held[0].after <= sequence:
            preview = self._held.popleft()
            if not self._is_over(preview):
                ready.append(preview)
        return ready

    def _is_over(self, preview: PreviewFrame) -> bool:
        return preview.event_id in self._closed or preview.after < self._request_ended.get(preview.thread, 0)

    def _close(self, event_id: str) -> None:
        self._closed[event_id] = None
        if len(self._closed) > FINISHED_MAX:
            self._closed.popitem(last=False)
