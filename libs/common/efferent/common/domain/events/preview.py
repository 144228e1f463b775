"""Previews of events in the making: sent on streams that ask for them, never stored."""

from typing import Literal

from efferent.common.domain.content import Shape, TextBlock
from efferent.common.domain.ids import EventId


class Preview(Shape):
    """Type and future id of the event in the making."""

    type: Literal["agent.message", "agent.thinking"]
    id: EventId


class EventStart(Shape):
    """Opens a preview."""

    type: Literal["event_start"] = "event_start"
    event: Preview


class ContentDelta(Shape):
    """A fragment of one content entry."""

    type: Literal["content_delta"] = "content_delta"
    index: int
    content: TextBlock


class EventDelta(Shape):
    """A fragment of the previewed event."""

    type: Literal["event_delta"] = "event_delta"
    event_id: EventId
    delta: ContentDelta


PreviewEvent = EventStart | EventDelta
