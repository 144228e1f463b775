"""User profiles in each generation's shape."""

from pathlib import Path

import anthropic
import pytest
from aiohttp import ClientSession

from efferent.common.runtime.settings import OrganizationSettings
from services.gateway.tests.gateway_rig import Served, ServerAddress, serve

MARCH, AUGUST, SEPTEMBER = (f"user-profiles-{day}" for day in ("2026-03-24", "2026-08-18", "2026-09-04"))


async def test_a_profile_lives_from_create_to_delete(served: Served) -> None:
    sdk = served.sdk()
    profile = await sdk.user_profiles.create(
        name="Ann", external_user_details={"country": "CH", "reference_id": "row-1"}, metadata={"a": "b", "c": "d"}
    )
    assert profile.id.startswith("uprof_")
    assert (profile.access_type, profile.enforcement_status, profile.enforcement_actions) == (
        "application",
        "unrestricted",
        [],
    )
    assert profile.external_user_details.country == "CH"
    changed = await sdk.user_profiles.update(
        profile.id, access_type="passthrough", metadata={"a": ""}, external_user_details={"entity_type": "business"}
    )
    assert (changed.access_type, changed.metadata) == ("passthrough", {"c": "d"})
    assert (changed.external_user_details.country, changed.external_user_details.entity_type) == ("CH", "business")
    assert await sdk.user_profiles.retrieve(profile.id) == changed
    assert [found.id async for found in sdk.user_profiles.list()] == [profile.id]
    assert (await sdk.user_profiles.delete(profile.id)).type == "user_profile_deleted"
    with pytest.raises(anthropic.NotFoundError):
        await sdk.user_profiles.retrieve(profile.id)


async def test_the_beta_client_changes_and_deletes_a_profile_too(served: Served) -> None:
    profiles = served.sdk().beta.user_profiles
    profile = await profiles.create(name="Ann", external_id="row-1")
    changed = await profiles.update(profile.id, name="Bea", metadata={"a": "b"})
    assert (changed.id, changed.name, changed.metadata, changed.external_id) == (
        profile.id,
        "Bea",
        {"a": "b"},
        "row-1",
    )
    deleted = await profiles.delete(profile.id)
    assert (deleted.id, deleted.type) == (profile.id, "user_profile_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await profiles.update(profile.id, name="Cleo")


async def test_each_generation_gets_its_own_shape(served: Served) -> None:
    body = {"name": "Ann", "external_id": "row-1", "external_user_onboarded_at": "2026-01-01T00:00:00Z"}
    made = await served.call("POST", "/v1/user_profiles", body, headers={"anthropic-beta": AUGUST})
    assert made.status == 200, made.body
    path = f"/v1/user_profiles/{made.body['id']}"
    common = {"type", "id", "name", "metadata", "created_at", "updated_at"}
    for header, more in (
        (MARCH, {"external_id", "trust_grants"}),
        (AUGUST, {"external_id", "trust_grants", "access_type", "external_user_onboarded_at"}),
        (SEPTEMBER, {"access_type", "external_user_details", "trust_grants"}),
        (None, {"access_type", "external_user_details", "enforcement_actions", "enforcement_status", "programs"}),
    ):
        for answer in (
            (await served.call("GET", path, headers={"anthropic-beta": header})).body,
            (await served.call("GET", "/v1/user_profiles", headers={"anthropic-beta": header})).body["data"][0],
        ):
            assert set(answer) == common | more
            assert answer.get("external_id", "row-1") == "row-1"
            onboarded_at = answer.get("external_user_details", {}).get("onboarded_at", "2026-01-01T00:00:00.000000Z")
            assert onboarded_at == "2026-01-01T00:00:00.000000Z"


async def test_names_sort_without_case_and_those_without_come_last(served: Served) -> None:
    for name in ("beta", None, "Alpha", "gamma"):
        await served.call("POST", "/v1/user_profiles", {"name": name})
    sdk = served.sdk()
    up = [found.name async for found in sdk.user_profiles.list(order_by="name", order="asc", limit=1)]
    down = [found.name async for found in sdk.user_profiles.list(order_by="name", limit=3)]
    assert up == ["Alpha", "beta", "gamma", None]
    assert down == ["gamma", "beta", "Alpha", None]
    assert [found.name async for found in sdk.user_profiles.list(order="asc")] == ["beta", None, "Alpha", "gamma"]
    page = (await sdk.user_profiles.list(order_by="name", limit=1)).next_page
    refused = await served.call("GET", f"/v1/user_profiles?page={page}")
    assert refused.error == (400, "invalid_request_error", "invalid page cursor")
    assert [found async for found in sdk.user_profiles.list(enforcement_status=["banned"])] == []
    assert (await served.call("GET", "/v1/user_profiles?enforcement_status[]=banned&limit=101")).status == 400
    assert len([found async for found in sdk.user_profiles.list(enforcement_status=["banned", "unrestricted"])]) == 4


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        (None, {"external_id": "x"}, "external_id: not accepted"),
        (None, {"external_user_onboarded_at": "2026-01-01T00:00:00Z"}, "external_user_onboarded_at: not accepted"),
        (MARCH, {"access_type": "application"}, "access_type: not accepted"),
        (MARCH, {"external_user_onboarded_at": "2026-01-01T00:00:00Z"}, "external_user_onboarded_at: not accepted"),
        (AUGUST, {"external_user_details": {}}, "external_user_details: not accepted"),
        (AUGUST, {"external_id": "x" * 256}, "external_id: must be at most 255 characters long"),
        (None, {"external_user_details": {"country": "ch"}}, "external_user_details.country"),
        (None, {"external_user_details": {"onboarded_at": "2999-01-01T00:00:00Z"}}, "must not be in the future"),
        (None, {"external_user_details": {"onboarded_at": "soon"}}, "is not a complete RFC 3339 date-time"),
        (None, {"external_user_details": {"onboarded_at": "2026-01-01"}}, "external_user_details.onboarded_at: "),
        (None, {"external_user_details": {"onboarded_at": "2026-01-01T00:00:00"}}, "with a time zone"),
        (None, {"external_user_details": {"onboarded_at": "2026-13-01T00:00:00Z"}}, "is not a valid RFC 3339"),
        (AUGUST, {"external_user_onboarded_at": "2026-01-01"}, "external_user_onboarded_at: "),
        (AUGUST, {"external_user_onboarded_at": None}, "external_user_onboarded_at: must not be null"),
        (None, {"external_user_details": None}, "external_user_details: must not be null"),
        (None, {"name": "x" * 256}, "name: must be at most 255 characters long"),
        (None, {"metadata": {"a": ""}}, "metadata.a: must not be empty"),
        (None, {"metadata": {str(number): "x" for number in range(17)}}, "at most 16 pairs"),
        (None, {"access_type": "other"}, "access_type"),
    ],
)
async def test_what_a_profile_cannot_be(served: Served, header: str | None, body: object, text: str) -> None:
    refused = await served.call("POST", "/v1/user_profiles", body, headers={"anthropic-beta": header})
    assert refused.error[:2] == (400, "invalid_request_error")
    assert text in refused.error[2]


async def test_a_detail_is_never_cleared(served: Served) -> None:
    made = (await served.call("POST", "/v1/user_profiles", {"external_user_details": {"country": "CH"}})).body
    path = f"/v1/user_profiles/{made['id']}"
    refused = await served.call("POST", path, {"external_user_details": {"country": None}})
    assert "external_user_details.country: must not be null" in refused.error[2]
    assert (await served.call("POST", path, {"name": None})).body["external_user_details"]["country"] == "CH"
    unchanged = await served.call("POST", path, {"access_type": None, "metadata": None})
    assert (unchanged.body["access_type"], unchanged.body["updated_at"]) == ("application", made["updated_at"])


async def test_links_lead_to_the_operators_page(nats_address: ServerAddress, tmp_path: Path, served: Served) -> None:
    page = OrganizationSettings(enrollment_url="https://me.example/enroll?x=1")
    async with serve(nats_address, tmp_path / "more", organization=page) as other:
        sdk = other.sdk()
        profile = await sdk.beta.user_profiles.create(name="Ann")
        for link in (
            await sdk.beta.user_profiles.create_enrollment_url(profile.id),
            await sdk.beta.user_profiles.action_urls.create(profile.id, action={"type": "enroll_end_user"}),
            await sdk.user_profiles.action_urls.create(profile.id, action={"type": "enroll_end_user"}),
        ):
            assert link.url.startswith(f"https://me.example/enroll?x=1&user_profile_id={profile.id}&expires_at=2")
            assert link.expires_at > profile.created_at
        late = await other.call(
            "POST", f"/v1/user_profiles/{profile.id}/enrollment_url", headers={"anthropic-beta": None}
        )
        assert late.error[:2] == (404, "not_found_error")


async def test_without_such_a_page_links_lead_to_one_that_asks_nothing(served: Served) -> None:
    sdk = served.sdk()
    profile = await sdk.beta.user_profiles.create()
    for link in (
        await sdk.beta.user_profiles.create_enrollment_url(profile.id),
        await sdk.user_profiles.action_urls.create(profile.id, action={"type": "enroll_end_user"}),
    ):
        assert f"/enrollment?user_profile_id={profile.id}&expires_at=2" in link.url
        async with ClientSession() as person, person.get(link.url) as page:
            assert (page.status, page.content_type) == (200, "text/plain")
            assert "nothing to do" in await page.text()


async def test_another_workspace_sees_no_profile(served: Served) -> None:
    made = (await served.call("POST", "/v1/user_profiles", {"name": "Ann"})).body
    _, key = await served.new_workspace()
    path = f"/v1/user_profiles/{made['id']}"
    for method, where, body in (
        ("GET", path, None),
        ("POST", path, {}),
        ("DELETE", path, None),
        ("POST", f"{path}/action_urls", {"action": {"type": "enroll_end_user"}}),
    ):
        assert (await served.call(method, where, body, headers={"x-api-key": key})).status == 404
    assert (await served.call("GET", "/v1/user_profiles", headers={"x-api-key": key})).body["data"] == []
