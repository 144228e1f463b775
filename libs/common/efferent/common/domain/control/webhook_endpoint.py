"""Webhook endpoints: commands, and what they decide. They belong to the organization, which has a limit of them.

Their set is the one workspace that they are all stored under.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind, SetFacts
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.webhook_endpoint import EndpointState, WebhookEndpoint
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp, after
from efferent.common.domain.webhook_types import WebhookType

ENDPOINTS_MAX: Final = 32
"""Of an organization, disabled ones included."""
NAME_LENGTH_MAX: Final = 256
DESCRIPTION_LENGTH_MAX: Final = 2_048
URL_LENGTH_MAX: Final = 2_048

NOT_FOUND_TEXT: Final = "Webhook endpoint not found."


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """Make an endpoint, enabled."""

    id: str
    url: str
    enabled_events: Sequence[WebhookType]
    signing_secret: Sealed
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class UpdateEndpoint:
    """Change what is mentioned."""

    url: Given[str] = UNSET
    name: Given[str] = UNSET
    description: Given[str] = UNSET
    enabled_events: Sequence[WebhookType] = ()
    """The whole new list; empty: it stays."""
    state: Given[EndpointState] = UNSET


@dataclass(frozen=True, slots=True)
class ReplaceSecret:
    """Sign with another secret from here on; the old one is worth nothing any more."""

    signing_secret: Sealed


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """The platform gives up on the endpoint as it was when it was last read."""

    reason: str
    as_of: WebhookEndpoint
    """What was tried: an endpoint that was changed or enabled again since then stays as it is."""


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """Remove the endpoint; what waits for it is not delivered."""


EndpointCommand = CreateEndpoint | UpdateEndpoint | ReplaceSecret | DisableEndpoint | DeleteEndpoint


def decide(current: WebhookEndpoint | None, command: EndpointCommand, now: Timestamp) -> Change[WebhookEndpoint] | None:
    """The next state; None when nothing changes. Raises NotFound, Conflict."""
    match command:
        case CreateEndpoint():
            if current is not None:
                raise Conflict(f"webhook endpoint {command.id} exists already")
            return Change("created", _create(command, now))
        case UpdateEndpoint():
            return _update(_existing(current), command, now)
        case ReplaceSecret():
            return _changed(_existing(current), {"signing_secret": command.signing_secret}, now)
        case DisableEndpoint():
            endpoint = _existing(current)
            if endpoint.state == "disabled" or endpoint.updated_at != command.as_of.updated_at:
                return None
            return _changed(endpoint, {"state": "disabled", "disabled_reason": command.reason}, now)
        case DeleteEndpoint():
            return Change("deleted", _existing(current))


def not_found() -> NotFound:
    """The refusal when there is no such endpoint."""
    return NotFound(NOT_FOUND_TEXT)


def admit(_: WebhookEndpoint, facts: SetFacts) -> None:
    """Refuse one endpoint too many. Raises InvalidRequest."""
    if facts.total >= ENDPOINTS_MAX:
        raise InvalidRequest(f"An organization can have at most {ENDPOINTS_MAX} webhook endpoints.")


WEBHOOK_ENDPOINT: Final[Kind[WebhookEndpoint]] = Kind(
    name="webhook_endpoint",
    prefix="whep_",
    record=ControlRecord[WebhookEndpoint],
    noun="webhook endpoint",
    deeds=("created", "updated", "deleted"),
    within="workspace",
    admit=admit,
    show=WebhookEndpoint.shown,
)


def _create(command: CreateEndpoint, now: Timestamp) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=command.id,
        url=command.url,
        name=command.name,
        description=command.description,
        enabled_events=_unique(command.enabled_events),
        state="enabled",
        disabled_reason="",
        created_at=now,
        updated_at=now,
        signing_secret=command.signing_secret,
        enabled_since=now,
    )


def _update(endpoint: WebhookEndpoint, command: UpdateEndpoint, now: Timestamp) -> Change[WebhookEndpoint] | None:
    mentioned = {"url": command.url, "name": command.name, "description": command.description, "state": command.state}
    changes: dict[str, object] = {name: value for name, value in mentioned.items() if value is not UNSET}
    if command.enabled_events:
        changes["enabled_events"] = _unique(command.enabled_events)
    if command.state is not UNSET:
        if command.state == "enabled" and endpoint.state == "disabled":
            changes["enabled_since"] = max(now, after(endpoint.updated_at))
        changes["disabled_reason"] = endpoint.disabled_reason if command.state == endpoint.state else ""
    return _changed(endpoint, changes, now)


def _changed(endpoint: WebhookEndpoint, changes: dict[str, object], now: Timestamp) -> Change[WebhookEndpoint] | None:
    """The endpoint with these changes, if there are any. No two states of it have the same ``updated_at``."""
    if all(getattr(endpoint, name) == value for name, value in changes.items()):
        return None
    return Change(
        "updated", endpoint.model_copy(update={**changes, "updated_at": max(now, after(endpoint.updated_at))})
    )


def _existing(endpoint: WebhookEndpoint | None) -> WebhookEndpoint:
    if endpoint is None:
        raise not_found()
    return endpoint


def _unique(types: Sequence[WebhookType]) -> tuple[WebhookType, ...]:
    return tuple(dict.fromkeys(types))
