"""User profiles as they are stored, and as each generation of the API shows them."""

from typing import Literal

from pydantic import BaseModel

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import UserProfileId
from efferent.common.domain.timestamp import Timestamp

Generation = Literal["2026-03-24", "2026-08-18", "2026-09-04", "current"]
"""Which shape a request speaks: one of the beta headers, or none."""
AccessType = Literal["application", "passthrough"]


class ExternalUserDetails(Shape):
    """What the platform states of the entity; nobody verifies it."""

    account_status: Literal["active", "suspended", "blocked"] | None = None
    country: str | None = None
    email_hash: str | None = None
    entity_type: Literal["individual", "business", "non_profit", "government"] | None = None
    name_hash: str | None = None
    onboarded_at: Timestamp | None = None
    reference_id: str | None = None


class UserProfile(Shape):
    """A user profile as it is stored. They are not archived."""

    type: Literal["user_profile"] = "user_profile"
    id: UserProfileId
    name: str | None = None
    access_type: AccessType = "application"
    external_user_details: ExternalUserDetails = ExternalUserDetails()
    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: None = None


class _Shown(Shape):
    type: Literal["user_profile"] = "user_profile"
    id: UserProfileId
    name: str | None
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp


class ProfileOfMarch(_Shown):
    """Under ``user-profiles-2026-03-24``."""

    external_id: str | None
    trust_grants: dict[str, str] = {}


class ProfileOfAugust(ProfileOfMarch):
    """Under ``user-profiles-2026-08-18``."""

    access_type: AccessType
    external_user_onboarded_at: Timestamp | None


class ProfileOfSeptember(_Shown):
    """Under ``user-profiles-2026-09-04``."""

    access_type: AccessType
    external_user_details: ExternalUserDetails
    trust_grants: dict[str, str] = {}


class Programs(Shape):
    """Standing in the vendor's programs: this server is in none."""

    cyber: None = None
    efs: None = None


class ProfileOfToday(_Shown):
    """Without a beta header. Nobody enforces anything here, so every profile is unrestricted."""

    access_type: AccessType
    external_user_details: ExternalUserDetails
    enforcement_actions: tuple[()] = ()
    enforcement_status: Literal["unrestricted"] = "unrestricted"
    programs: Programs = Programs()


def shown(profile: UserProfile, generation: Generation) -> BaseModel:
    """The profile as a generation of clients gets it."""
    common = {
        "id": profile.id,
        "name": profile.name,
        "metadata": profile.metadata,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
    }
    details = profile.external_user_details
    match generation:
        case "2026-03-24":
            return ProfileOfMarch(**common, external_id=details.reference_id)
        case "2026-08-18":
            return ProfileOfAugust(
                **common,
                external_id=details.reference_id,
                access_type=profile.access_type,
                external_user_onboarded_at=details.onboarded_at,
            )
        case "2026-09-04":
            return ProfileOfSeptember(**common, access_type=profile.access_type, external_user_details=details)
        case "current":
            return ProfileOfToday(**common, access_type=profile.access_type, external_user_details=details)
