"""Keys, beta and version headers, and the order in which they are checked."""

import pytest

from efferent.common import api_keys
from efferent.common.api_keys import ApiKeyRecord
from efferent.common.domain import timestamp
from services.gateway.tests.gateway_rig import BETA, CLOCK, VERSION, Served

UNAUTHENTICATED = (401, "authentication_error", "Authentication failed")


async def test_both_header_forms_of_a_key_are_accepted(served: Served) -> None:
    bearer = {"x-api-key": None, "authorization": f"Bearer {served.key}"}
    assert (await served.call("GET", "/v1/agents")).status == 200
    assert (await served.call("GET", "/v1/agents", headers=bearer)).status == 200


async def test_both_header_forms_at_once_are_refused(served: Served) -> None:
    answer = await served.call("GET", "/v1/agents", headers={"authorization": f"Bearer {served.key}"})
    assert answer.error == UNAUTHENTICATED


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": None},
        {"x-api-key": ""},
        {"x-api-key": "sk-ant-wrong"},
        {"x-api-key": "x" * 513},
        {"x-api-key": None, "authorization": "Basic abc"},
        {"x-api-key": None, "authorization": "Bearer "},
        {"x-api-key": None, "authorization": "Bearer sk-ant-wrong"},
    ],
)
async def test_a_missing_or_wrong_key_has_one_answer(served: Served, headers: dict[str, str | None]) -> None:
    answer = await served.call("GET", "/v1/agents", headers=headers)
    assert answer.error == UNAUTHENTICATED
    assert "anthropic-workspace-id" not in answer.headers


async def test_a_new_key_is_valid_at_once_and_a_revoked_one_on_the_next_request_is_not(served: Served) -> None:
    key, made = await api_keys.create_key(
        served.control_log, name="second", clock=CLOCK, workspace_id=served.workspace_id
    )
    assert (await served.call("GET", "/v1/agents", headers={"x-api-key": key})).status == 200
    now = timestamp.from_epoch_us(CLOCK.now_us())
    revoked = ApiKeyRecord(
        type="api_key.revoked",
        at=now,
        workspace_id=served.workspace_id,
        data=made.model_copy(update={"revoked_at": now}),
    )
    subject = api_keys.subject(made.id)
    newest = await served.control_log.last(subject)
    assert newest is not None
    await served.control_log.append(subject, revoked.model_dump_json().encode(), expected=newest.sequence)
    # A list waits until the control log has been applied up to here, the revocation included.
    assert (await served.call("GET", "/v1/agents")).status == 200
    assert (await served.call("GET", "/v1/agents", headers={"x-api-key": key})).error == UNAUTHENTICATED


async def test_every_answer_names_request_organization_and_workspace(served: Served) -> None:
    first, second = await served.call("GET", "/v1/agents"), await served.call("GET", "/v1/agents/agent_unknown")
    assert first.headers["request-id"].startswith("req_")
    assert first.headers["request-id"] != second.headers["request-id"]
    for answer in (first, second):
        assert answer.headers["anthropic-workspace-id"] == served.workspace_id
        assert answer.headers["anthropic-organization-id"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/v1", "/v1/agents/agent_x/nothing"])
async def test_an_unknown_route_is_told_without_a_key(served: Served, path: str) -> None:
    answer = await served.call("GET", path, headers={"x-api-key": None, "anthropic-beta": None})
    assert answer.error == (404, "not_found_error", "Not found")


async def test_a_known_path_with_another_method_is_refused_in_the_envelope(served: Served) -> None:
    assert (await served.call("PUT", "/v1/agents", {})).error == (405, "invalid_request_error", "Method not allowed")


async def test_the_key_is_checked_before_the_beta_and_the_beta_before_the_version(served: Served) -> None:
    nothing: dict[str, str | None] = {"x-api-key": None, "anthropic-beta": None, "anthropic-version": None}
    assert (await served.call("GET", "/v1/agents", headers=nothing)).error == UNAUTHENTICATED
    with_key = {name: value for name, value in nothing.items() if name != "x-api-key"}
    assert (await served.call("GET", "/v1/agents", headers=with_key)).error == (404, "not_found_error", "not found")
    with_beta = {"anthropic-version": None}
    assert (await served.call("GET", "/v1/agents", headers=with_beta)).error == (
        400,
        "invalid_request_error",
        "anthropic-version: header is required",
    )


@pytest.mark.parametrize("version", ["2023-06-01", VERSION])
async def test_both_api_versions_are_served(served: Served, version: str) -> None:
    assert (await served.call("GET", "/v1/agents", headers={"anthropic-version": version})).status == 200


async def test_another_api_version_is_refused(served: Served) -> None:
    answer = await served.call("GET", "/v1/agents", headers={"anthropic-version": "2020-01-01"})
    assert answer.error == (
        400,
        "invalid_request_error",
        'anthropic-version: "2020-01-01" is not a valid version; expected 2023-06-01 or 2026-10-21',
    )


async def test_the_beta_query_parameter_is_ignored(served: Served) -> None:
    assert (await served.call("GET", "/v1/agents?beta=true")).status == 200
    without = await served.call("GET", "/v1/agents?beta=true", headers={"anthropic-beta": None})
    assert without.error == (404, "not_found_error", "not found")


async def test_agents_ignore_an_unknown_beta_beside_the_known_one(served: Served) -> None:
    both = {"anthropic-beta": f"brand-new-2030-01-01, {BETA}"}
    assert (await served.call("GET", "/v1/agents", headers=both)).status == 200
    only = await served.call("GET", "/v1/agents", headers={"anthropic-beta": "brand-new-2030-01-01"})
    assert only.error == (404, "not_found_error", "not found")


@pytest.mark.parametrize("value", ["brand-new-2030-01-01", f"{BETA},brand-new-2030-01-01"])
async def test_environments_refuse_an_unknown_beta(served: Served, value: str) -> None:
    answer = await served.call("GET", "/v1/environments", headers={"anthropic-beta": value})
    text = "Unexpected value(s) `brand-new-2030-01-01` for the `anthropic-beta` header."
    assert answer.error == (400, "invalid_request_error", text)


async def test_environments_take_their_old_beta_alone_and_not_with_the_new_one(served: Served) -> None:
    old = "environments-2025-11-01"
    assert (await served.call("GET", "/v1/environments", headers={"anthropic-beta": old})).status == 200
    both = await served.call("GET", "/v1/environments", headers={"anthropic-beta": f"{old},{BETA}"})
    assert both.error[:2] == (400, "invalid_request_error")


async def test_more_than_a_hundred_beta_values_are_refused(served: Served) -> None:
    allowed = ",".join([BETA] * 100)
    assert (await served.call("GET", "/v1/agents", headers={"anthropic-beta": allowed})).status == 200
    answer = await served.call("GET", "/v1/agents", headers={"anthropic-beta": f"{allowed},{BETA}"})
    assert answer.error == (400, "invalid_request_error", "anthropic-beta: more than 100 values")


async def test_the_workspace_header_must_name_the_keys_workspace(served: Served) -> None:
    own = {"anthropic-workspace-id": served.workspace_id}
    assert (await served.call("GET", "/v1/agents", headers=own)).status == 200
    answer = await served.call("GET", "/v1/agents", headers={"anthropic-workspace-id": "wrkspc_other"})
    text = "anthropic-workspace-id: does not match the workspace of the API key"
    assert answer.error == (400, "invalid_request_error", text)
