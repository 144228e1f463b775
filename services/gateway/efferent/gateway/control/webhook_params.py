"""Webhook endpoints as clients write them."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.control.aggregate import UNSET, Given
from efferent.common.domain.control.webhook_endpoint import (
    DESCRIPTION_LENGTH_MAX,
    NAME_LENGTH_MAX,
    URL_LENGTH_MAX,
    UpdateEndpoint,
)
from efferent.common.domain.webhook_types import WEBHOOK_TYPES, WebhookType
from efferent.common.net import endpoint_urls
from efferent.common.net.public_addresses import AddressPolicy
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import PARSE_TEXT, Params

_EVENTS_MAX = len(WEBHOOK_TYPES)

Name = Annotated[str, Field(max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]
Url = Annotated[str, Field(min_length=1, max_length=URL_LENGTH_MAX)]


class CreateWebhookParams(Params):
    """Body of ``POST /v1/organizations/webhooks``."""

    url: Url
    enabled_events: Annotated[list[WebhookType], Field(min_length=1, max_length=_EVENTS_MAX)]
    name: Name = ""
    description: Description = ""


class UpdateWebhookParams(Params):
    """Body of ``POST /v1/organizations/webhooks/{webhook_endpoint_id}``: what is not mentioned stays."""

    url: Url = ""
    enabled_events: Annotated[list[WebhookType], Field(max_length=_EVENTS_MAX)] = []
    name: Name = ""
    description: Description = ""
    state: Literal["enabled", "disabled"] = "enabled"

    def command(self, policy: AddressPolicy) -> UpdateEndpoint:
        """What the client wants. Raises InvalidRequest."""
        given = self.model_fields_set
        return UpdateEndpoint(
            url=checked_url(self.url, policy) if "url" in given else UNSET,
            name=self.name if "name" in given else UNSET,
            description=self.description if "description" in given else UNSET,
            enabled_events=self.enabled_events,
            state=_state(self),
        )


def checked_url(text: str, policy: AddressPolicy) -> str:
    """A URL that events may be sent to, as the client wrote it. Raises InvalidRequest."""
    try:
        endpoint_urls.parse(text, policy)
    except endpoint_urls.BadEndpointUrl as error:
        raise InvalidRequest(f"{PARSE_TEXT}: url: {error}") from error
    return text


def _state(params: UpdateWebhookParams) -> Given[Literal["enabled", "disabled"]]:
    return params.state if "state" in params.model_fields_set else UNSET
