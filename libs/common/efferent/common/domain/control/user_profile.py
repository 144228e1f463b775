"""User profiles: commands, and what they decide."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import UserProfileId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.user_profile import AccessType, ExternalUserDetails, UserProfile
from efferent.common.domain.timestamp import Timestamp

TEXT_LENGTH_MAX: Final = 255
"""Characters of a name, a hash or a reference."""
CLOCKS_APART_MAX_S: Final = 60
"""How far in the future ``onboarded_at`` may lie."""

_COUNTRY: Final = re.compile("[A-Z]{2}")
_LOWER: Final = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})
_AFTER_ALL_NAMES: Final = chr(0x10FFFF)


def _facets(profile: UserProfile) -> dict[str, str]:
    """Names sort without the case of ASCII letters; a profile without one comes last either way."""
    name = profile.name.translate(_LOWER) if profile.name is not None else None
    return {
        "name_asc": _AFTER_ALL_NAMES if name is None else name,
        "name_desc": "" if name is None else name,
    }


USER_PROFILE: Final[Kind[UserProfile]] = Kind(
    name="user_profile",
    prefix="uprof_",
    record=ControlRecord[UserProfile],
    noun="user profile",
    deeds=("created", "updated", "deleted"),
    facets=_facets,
)


@dataclass(frozen=True, slots=True)
class ProfileFields:
    """What a request says of a profile; what is not mentioned stays."""

    name: Given[str | None] = UNSET
    access_type: Given[AccessType] = UNSET
    details: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``ExternalUserDetails`` that are mentioned."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreateUserProfile:
    """Make a profile."""

    id: UserProfileId
    fields: ProfileFields


@dataclass(frozen=True, slots=True)
class UpdateUserProfile:
    """Change what is mentioned; of the metadata an empty text removes a key."""

    fields: ProfileFields


@dataclass(frozen=True, slots=True)
class DeleteUserProfile:
    """Remove the profile."""


UserProfileCommand = CreateUserProfile | UpdateUserProfile | DeleteUserProfile


def not_found() -> NotFound:
    """The refusal when there is no such profile."""
    return NotFound("User profile not found.")


def decide(current: UserProfile | None, command: UserProfileCommand, now: Timestamp) -> Change[UserProfile] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    if isinstance(command, CreateUserProfile):
        if current is not None:
            raise Conflict(f"user profile {command.id} exists already")
        for key, value in command.fields.metadata.items():
            if value == "":
                raise InvalidRequest(f"metadata.{key}: must not be empty")
        empty = UserProfile(id=command.id, created_at=now, updated_at=now)
        return Change("created", _changed(empty, command.fields, now))
    if current is None:
        raise not_found()
    match command:
        case UpdateUserProfile(fields=fields):
            changed = _changed(current, fields, now)
            if changed == current:
                return None
            return Change("updated", changed.model_copy(update={"updated_at": max(now, current.updated_at)}))
        case DeleteUserProfile():
            return Change("deleted", current)


def _changed(profile: UserProfile, fields: ProfileFields, now: Timestamp) -> UserProfile:
    details = profile.external_user_details.model_copy(update=dict(fields.details))
    _check(details, now)
    changes: dict[str, object] = {
        "metadata": merged(profile.metadata, fields.metadata, empty_deletes=True),
        "external_user_details": details,
    }
    if fields.name is not UNSET:
        changes["name"] = fields.name
    if fields.access_type is not UNSET:
        changes["access_type"] = fields.access_type
    return profile.model_copy(update=changes)


def _check(details: ExternalUserDetails, now: Timestamp) -> None:
    if details.country is not None and _COUNTRY.fullmatch(details.country) is None:
        raise InvalidRequest("external_user_details.country: must be two upper-case letters, like US")
    ahead_s = 0.0 if details.onboarded_at is None else timestamp.seconds_between(now, details.onboarded_at)
    if ahead_s > CLOCKS_APART_MAX_S:
        raise InvalidRequest("external_user_details.onboarded_at: must not be in the future")
