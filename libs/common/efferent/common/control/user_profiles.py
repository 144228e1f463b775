"""User profiles in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import user_profile
from efferent.common.domain.control.user_profile import USER_PROFILE, UserProfileCommand
from efferent.common.domain.resources.user_profile import UserProfile

USER_PROFILES: Final[Collection[UserProfile, UserProfileCommand]] = Collection(
    USER_PROFILE, user_profile.decide, user_profile.not_found
)
