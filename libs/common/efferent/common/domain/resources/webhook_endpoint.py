"""Webhook endpoints: what the log holds of one, and what the API shows of it."""

from typing import Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.webhook_events import WebhookEvent
from efferent.common.domain.webhook_types import WebhookType

EndpointState = Literal["enabled", "disabled"]


class ShownWebhookEndpoint(Shape):
    """An endpoint as clients read it: its secret is shown once, when it is made or replaced."""

    id: str
    url: str
    name: str
    description: str
    enabled_events: tuple[WebhookType, ...]
    state: EndpointState
    disabled_reason: str
    """Why the platform disabled it; empty while it is enabled, or when a client disabled it."""
    created_at: Timestamp
    updated_at: Timestamp


class WebhookEndpoint(ShownWebhookEndpoint):
    """An endpoint of the organization."""

    signing_secret: Sealed
    enabled_since: Timestamp
    """Events before it are not delivered: nothing is made up for the time in which it was disabled."""

    @property
    def archived_at(self) -> None:
        """Endpoints are deleted, never archived."""
        return

    def shown(self) -> ShownWebhookEndpoint:
        """Without what only the deliveries need."""
        return ShownWebhookEndpoint(
            **{name: getattr(self, name) for name in ShownWebhookEndpoint.model_fields},
        )

    def wants(self, event: WebhookEvent) -> bool:
        """Whether the event is to be delivered here."""
        return (
            self.state == "enabled"
            and event.data.type in self.enabled_events
            and event.created_at >= self.enabled_since
        )
