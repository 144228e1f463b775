"""Webhook endpoints in the log, and their signing secrets, which are sealed before they are part of a record.

They are the organization's: all are stored under the default workspace.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from efferent.common.api_keys import DEFAULT_WORKSPACE_ID
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.collection import Collection
from efferent.common.domain.control import webhook_endpoint
from efferent.common.domain.control.aggregate import Change
from efferent.common.domain.control.webhook_endpoint import (
    WEBHOOK_ENDPOINT,
    CreateEndpoint,
    DeleteEndpoint,
    EndpointCommand,
    ReplaceSecret,
)
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.webhook_types import WebhookType
from efferent.common.secrets.box import SecretBox

HOME: Final[WorkspaceId] = DEFAULT_WORKSPACE_ID
SECRET_BYTES: Final = 32

_NAME: Final = "signing_secret"

WEBHOOK_ENDPOINTS: Final[Collection[WebhookEndpoint, EndpointCommand]] = Collection(
    WEBHOOK_ENDPOINT, webhook_endpoint.decide, webhook_endpoint.not_found
)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """What a client says of an endpoint that is to be made."""

    id: str
    url: str
    enabled_events: Sequence[WebhookType]
    name: str = ""
    description: str = ""


class SigningSecrets:
    """Makes, replaces, opens and destroys the signing secrets of endpoints."""

    def __init__(self, aggregates: Aggregates, box: SecretBox) -> None:
        """``box`` seals them; an endpoint's id is the owner of its secrets."""
        self._aggregates = aggregates
        self._box = box

    async def create(self, key_id: ApiKeyId | None, new: NewEndpoint) -> tuple[WebhookEndpoint, str]:
        """Make an endpoint; it and its secret, which nobody can read later. Raises Refused, LogUnavailable."""
        secret = new_secret()
        sealed = await self._box.seal(new.id, {_NAME: secret})
        command = CreateEndpoint(new.id, new.url, new.enabled_events, sealed, new.name, new.description)
        try:
            made = await WEBHOOK_ENDPOINTS.change(self._aggregates, Actor(HOME, key_id), new.id, command)
        except Refused:
            await self._box.shred(new.id)
            raise
        return made, secret

    async def replace(self, key_id: ApiKeyId | None, endpoint_id: str) -> str:
        """Give an endpoint another secret; the old one is destroyed. Raises Refused, LogUnavailable, LogConflict."""
        secret = new_secret()
        sealed = await self._box.seal(endpoint_id, {_NAME: secret})
        replaced: list[Sealed] = []

        def decide(current: WebhookEndpoint | None, now: Timestamp) -> Change[WebhookEndpoint] | None:
            change = webhook_endpoint.decide(current, ReplaceSecret(sealed), now)
            replaced[:] = [current.signing_secret] if current is not None else []
            return change

        try:
            await self._aggregates.execute(WEBHOOK_ENDPOINT, Actor(HOME, key_id), endpoint_id, decide)
        except Refused:
            await self._box.destroy(endpoint_id, sealed)
            raise
        for old in replaced:
            await self._box.destroy(endpoint_id, old)
        return secret

    async def delete(self, key_id: ApiKeyId | None, endpoint_id: str) -> None:
        """Remove an endpoint and destroy its secrets. Raises Refused, LogUnavailable, LogConflict."""
        await WEBHOOK_ENDPOINTS.change(self._aggregates, Actor(HOME, key_id), endpoint_id, DeleteEndpoint())
        await self._box.shred(endpoint_id)

    async def read(self, endpoint: WebhookEndpoint) -> str:
        """The secret, for the moment of its use. Raises CannotOpen (also when it was replaced), LogUnavailable."""
        return (await self._box.open(endpoint.id, endpoint.signing_secret))[_NAME]


def new_secret() -> str:
    """A fresh signing secret as clients keep it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
