"""User profiles as clients of each generation write them."""

import re
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field

from efferent.common.domain.control.aggregate import UNSET
from efferent.common.domain.control.user_profile import TEXT_LENGTH_MAX, ProfileFields
from efferent.common.domain.resources.user_profile import AccessType, Generation
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway import beta
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params, quoted, read_timestamp

_HEADER: Final = "user-profiles-"
_GENERATIONS: Final[tuple[Generation, ...]] = ("2026-03-24", "2026-08-18", "2026-09-04")
_LEGACY: Final[tuple[Generation, ...]] = ("2026-03-24", "2026-08-18")

_COMPLETE: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")

Name = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX)]


class DetailsParams(Params):
    """What the platform states of the entity."""

    account_status: Literal["active", "suspended", "blocked"] | None = None
    country: str | None = None
    email_hash: Text | None = None
    entity_type: Literal["individual", "business", "non_profit", "government"] | None = None
    name_hash: Text | None = None
    onboarded_at: str | None = None
    reference_id: Text | None = None


class UserProfileParams(Params):
    """Body of create and update."""

    name: Name | None = None
    access_type: AccessType | None = None
    external_id: Annotated[str, Field(max_length=TEXT_LENGTH_MAX)] | None = None
    external_user_onboarded_at: str | None = None
    external_user_details: DetailsParams | None = None
    metadata: dict[str, str] | None = None

    def fields(self, generation: Generation, *, updates: bool) -> ProfileFields:
        """What is mentioned, as the domain takes it. Raises InvalidRequest for what the generation does not know."""
        given = self.model_fields_set
        self._check(generation)
        return ProfileFields(
            name=self.name if "name" in given else UNSET,
            access_type=self.access_type if self.access_type is not None else UNSET,
            details=self._details(updates=updates),
            metadata=self.metadata or {},
        )

    def _check(self, generation: Generation) -> None:
        unknown = {
            "external_id": generation not in _LEGACY,
            "external_user_onboarded_at": generation != "2026-08-18",
            "external_user_details": generation in _LEGACY,
            "access_type": generation == "2026-03-24",
        }
        for name, is_unknown in unknown.items():
            if is_unknown and name in self.model_fields_set:
                raise InvalidRequest(f"{name}: not accepted under this version of user profiles")

    def _details(self, *, updates: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "external_id" in self.model_fields_set:
            found["reference_id"] = self.external_id
        if "external_user_onboarded_at" in self.model_fields_set:
            if self.external_user_onboarded_at is None:
                raise InvalidRequest("external_user_onboarded_at: must not be null")
            found["onboarded_at"] = _moment("external_user_onboarded_at", self.external_user_onboarded_at)
        details = self.external_user_details
        if details is None:
            if "external_user_details" in self.model_fields_set:
                raise InvalidRequest("external_user_details: must not be null")
            return found
        for name in details.model_fields_set:
            value = getattr(details, name)
            if value is None and updates:
                raise InvalidRequest(f"external_user_details.{name}: must not be null; it cannot be cleared")
            if name == "onboarded_at" and value is not None:
                value = _moment("external_user_details.onboarded_at", value)
            found[name] = value
        return found


def _moment(name: str, text: str) -> Timestamp:
    """A complete timestamp: date, time and zone. Raises InvalidRequest."""
    if _COMPLETE.match(text) is None:
        raise InvalidRequest(f"{name}: {quoted(text)} is not a complete RFC 3339 date-time with a time zone")
    return read_timestamp(name, text)


class EnrollParams(Params):
    """The one action that there is."""

    type: Literal["enroll_end_user"]


class ActionUrlParams(Params):
    """Body of ``POST /v1/user_profiles/{user_profile_id}/action_urls``."""

    action: EnrollParams


def generation_of(request: web.Request) -> Generation:
    """Which shape the request speaks; of several the oldest. Raises InvalidRequest."""
    values = beta.parse(request.headers.getall("anthropic-beta", []))
    return next((generation for generation in _GENERATIONS if f"{_HEADER}{generation}" in values), "current")


def is_legacy(generation: Generation) -> bool:
    """Whether the generation still has enrollment URLs."""
    return generation in _LEGACY
