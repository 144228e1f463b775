"""``/v1/user_profiles``: create, list, retrieve, update, delete, and links for the entities themselves.

Which shape is spoken follows from the beta header. The links lead to a page of the operator. Without one they lead to a
page of the gateway, which says what is true then: nobody is reviewed here, so there is nothing to do.
"""

from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import quote

from aiohttp import web

from efferent.common.control.user_profiles import USER_PROFILES
from efferent.common.domain import timestamp
from efferent.common.domain.content import Shape
from efferent.common.domain.control.user_profile import (
    USER_PROFILE,
    CreateUserProfile,
    DeleteUserProfile,
    UpdateUserProfile,
)
from efferent.common.domain.ids import UserProfileId
from efferent.common.domain.resources.user_profile import UserProfile, shown
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.context import context_of
from efferent.gateway.control.handling import body_as, change, find, id_in_path, new_id
from efferent.gateway.control.listing import Wanted, read_page
from efferent.gateway.control.user_profile_params import (
    ActionUrlParams,
    UserProfileParams,
    generation_of,
    is_legacy,
)
from efferent.gateway.errors import InvalidRequest, NotFound
from efferent.gateway.responses import json_deleted, json_page, json_resource
from efferent.gateway.validation import not_valid, query_list, query_order

URL_LIFE_S: Final = 24 * 3_600
ENFORCEMENT_STATUSES: Final = ("unrestricted", "pending", "restricted", "banned")
PAGE_PATH: Final = "/enrollment"
PAGE_TEXT: Final = "There is nothing to do here: this server asks nobody to enroll.\n"


class EnrollmentUrl(Shape):
    """A link for legacy clients."""

    type: Literal["enrollment_url"] = "enrollment_url"
    url: str
    expires_at: Timestamp


class ActionUrl(Shape):
    """A link."""

    type: Literal["user_profile_action_url"] = "user_profile_action_url"
    url: str
    expires_at: Timestamp


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/user_profiles", create),
        web.get("/v1/user_profiles", list_user_profiles),
        web.get("/v1/user_profiles/{user_profile_id}", retrieve),
        web.post("/v1/user_profiles/{user_profile_id}", update),
        web.delete("/v1/user_profiles/{user_profile_id}", delete),
        web.post("/v1/user_profiles/{user_profile_id}/enrollment_url", create_enrollment_url),
        web.post("/v1/user_profiles/{user_profile_id}/action_urls", create_action_url),
        web.get(PAGE_PATH, page),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a profile."""
    params = await body_as(request, UserProfileParams)
    profile_id = UserProfileId(new_id(request, USER_PROFILE))
    command = CreateUserProfile(profile_id, params.fields(generation_of(request), updates=False))
    return _answer(request, await change(request, USER_PROFILES, profile_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One profile."""
    return _answer(request, await find(request, USER_PROFILES, _id(request)))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    profile_id = _id(request)
    params = await body_as(request, UserProfileParams)
    command = UpdateUserProfile(params.fields(generation_of(request), updates=True))
    return _answer(request, await change(request, USER_PROFILES, profile_id, command))


async def delete(request: web.Request) -> web.Response:
    """Remove it."""
    gone = await change(request, USER_PROFILES, _id(request), DeleteUserProfile())
    return json_deleted(USER_PROFILE, gone.id)


async def list_user_profiles(request: web.Request) -> web.Response:
    """All profiles by time or name."""
    generation = generation_of(request)
    order = query_order(request, "desc")
    statuses = query_list(request, "enforcement_status", allowed=ENFORCEMENT_STATUSES)
    if statuses and generation != "current":
        raise InvalidRequest("enforcement_status: not accepted under this version of user profiles")
    wanted = Wanted(query_names=("order", "order_by"), order=order, sort=_sort(request, order), has_archived=False)
    page = await read_page(request, USER_PROFILE, wanted)
    if statuses and "unrestricted" not in statuses:  # which all of them are
        return json_page([], next_page=None)
    profiles = [UserProfile.model_validate_json(body) for body in page.bodies]
    bodies = [shown(profile, generation).model_dump_json().encode() for profile in profiles]
    return json_page(bodies, next_page=page.next_page)


async def create_enrollment_url(request: web.Request) -> web.Response:
    """A link for the entity; only for legacy clients."""
    profile_id = _id(request)
    if not is_legacy(generation_of(request)):
        raise NotFound("not found")
    await find(request, USER_PROFILES, profile_id)
    url, expires_at = _link(request, profile_id)
    return json_resource(EnrollmentUrl(url=url, expires_at=expires_at))


async def create_action_url(request: web.Request) -> web.Response:
    """A link for the entity."""
    profile_id = _id(request)
    await body_as(request, ActionUrlParams)
    await find(request, USER_PROFILES, profile_id)
    url, expires_at = _link(request, profile_id)
    return json_resource(ActionUrl(url=url, expires_at=expires_at))


async def page(request: web.Request) -> web.Response:
    """Where links lead when the operator has no page; for people, without a key."""
    return web.Response(text=PAGE_TEXT, headers={"Cache-Control": "no-store"})


def _link(request: web.Request, profile_id: str) -> tuple[str, Timestamp]:
    context = context_of(request)
    base = context.settings.organization.enrollment_url or f"{request.scheme}://{request.host}{PAGE_PATH}"
    expires_at = timestamp.from_epoch_us(context.clock.now_us() + URL_LIFE_S * 1_000_000)
    separator = "&" if "?" in base else "?"
    return f"{base}{separator}user_profile_id={profile_id}&expires_at={quote(expires_at)}", expires_at


def _sort(request: web.Request, order: str) -> str:
    match request.query.get("order_by"):
        case None | "" | "created_at":
            return "created_at"
        case "name":
            return f"name_{order}"
        case text:
            raise InvalidRequest(f"order_by: {not_valid(text, ('created_at', 'name'))}")


def _answer(request: web.Request, profile: UserProfile) -> web.Response:
    return json_resource(shown(profile, generation_of(request)))


def _id(request: web.Request) -> str:
    return id_in_path(request, "user_profile_id", USER_PROFILE)
