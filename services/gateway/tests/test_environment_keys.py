"""``/v1/environments/{id}/keys``: made once, listed without the key, revoked for good."""

import asyncio

import pytest

from efferent.common import api_keys, environment_keys
from efferent.common.runtime.clock import RandomSeeds
from services.gateway.tests.gateway_rig import Served

PAST = "2020-01-01T00:00:00Z"
FUTURE = "2099-01-01T01:00:00+01:00"


async def environment(served: Served, kind: str = "self_hosted") -> str:
    body = {"name": f"env {RandomSeeds().seed()}", "config": {"type": kind}}
    answer = await served.call("POST", "/v1/environments", body)
    assert answer.status == 200, answer.body
    return f"/v1/environments/{answer.body['id']}"


async def test_a_key_is_shown_once_and_listed_without_itself(served: Served) -> None:
    path = await environment(served)
    made = (await served.call("POST", f"{path}/keys", {"name": "worker 1", "expires_at": FUTURE})).body
    key = made.pop("key")
    assert key.startswith("sk-ant-oat01-")
    assert made == {
        "id": api_keys.key_id(key),
        "type": "environment_key",
        "environment_id": path.rpartition("/")[2],
        "name": "worker 1",
        "created_at": made["created_at"],
        "expires_at": "2099-01-01T00:00:00.000000Z",
    }
    second = (await served.call("POST", f"{path}/keys", {})).body
    assert second["name"] == "environment key"
    listed = await served.call("GET", f"{path}/keys")
    assert [each["id"] for each in listed.body["data"]] == [second["id"], made["id"]]
    assert listed.body["next_page"] is None
    assert key not in str(listed.body)


async def test_a_revoked_key_is_listed_no_more_and_refused(served: Served) -> None:
    path = await environment(served)
    made = (await served.call("POST", f"{path}/keys", {})).body
    for _ in range(2):
        answer = await served.call("DELETE", f"{path}/keys/{made['id']}")
        assert (answer.status, answer.body) == (200, {"id": made["id"], "type": "environment_key_deleted"})
    assert (await served.call("GET", f"{path}/keys")).body["data"] == []
    bearer = {"x-api-key": None, "authorization": f"Bearer {made['key']}"}
    assert (await served.call("GET", f"{path}/work/poll", headers=bearer)).status == 401


async def test_a_long_poll_ends_when_its_key_is_revoked(served: Served) -> None:
    path = await environment(served)
    for _ in range(5):  # a poll ends by itself after a second, which on a machine that stalls comes first
        made = (await served.call("POST", f"{path}/keys", {})).body
        bearer = {"x-api-key": None, "authorization": f"Bearer {made['key']}"}
        assert (await served.call("GET", f"{path}/work/poll", headers=bearer)).status == 200
        polling = asyncio.create_task(served.call("GET", f"{path}/work/poll?block_ms=999", headers=bearer))
        await asyncio.sleep(0)
        await served.call("DELETE", f"{path}/keys/{made['id']}")
        if (answer := await polling).status != 200:
            assert answer.error == (401, "authentication_error", "Authentication failed")
            return
    pytest.fail("no poll was ended by the end of its key")


async def test_the_keys_of_a_deleted_environment_are_revoked(served: Served) -> None:
    path, other = await environment(served), await environment(served)
    keys = [(await served.call("POST", f"{each}/keys", {})).body for each in (path, path, other)]
    assert (await served.call("DELETE", path)).status == 200
    statuses = []
    for made, each in zip(keys, (path, path, other), strict=True):
        bearer = {"x-api-key": None, "authorization": f"Bearer {made['key']}"}
        statuses.append((await served.call("GET", f"{each}/work/poll", headers=bearer)).status)
    assert statuses == [401, 401, 200]


async def test_an_environment_key_is_no_key_of_the_workspace(served: Served) -> None:
    path = await environment(served)
    made = (await served.call("POST", f"{path}/keys", {})).body
    for header in ({"x-api-key": made["key"]}, {"x-api-key": None, "authorization": f"Bearer {made['key']}"}):
        for method, route in (("GET", "/v1/agents"), ("GET", f"{path}/keys"), ("POST", f"{path}/keys")):
            answer = await served.call(method, route, {} if method == "POST" else None, headers=header)
            assert answer.status in (401, 403), route


async def test_another_workspace_sees_no_keys_of_it(served: Served) -> None:
    path = await environment(served)
    made = (await served.call("POST", f"{path}/keys", {})).body
    _, other = await served.new_workspace()
    as_other = {"x-api-key": other}
    for method, route in (("POST", "keys"), ("GET", "keys"), ("DELETE", f"keys/{made['id']}")):
        answer = await served.call(method, f"{path}/{route}", {} if method == "POST" else None, headers=as_other)
        assert answer.error == (404, "not_found_error", "Environment not found.")
    another = await environment(served)
    for identifier in (made["id"], served.key_id, "apikey_unknown"):
        answer = await served.call("DELETE", f"{another}/keys/{identifier}")
        assert answer.error == (404, "not_found_error", "Environment key not found.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"expires_at": PAST}, "expires_at: must be in the future"),
        ({"expires_at": "soon"}, "expires_at: must be an RFC 3339 date-time with a time zone"),
        ({"expires_at": "2099-01-01T00:00:00"}, "must be an RFC 3339 date-time with a time zone"),
        ({"expires_at": "0001-01-01T00:00:00+23:00"}, "must be an RFC 3339 date-time with a time zone"),
        ({"name": ""}, "name: must be at least 1 character long"),
        ({"name": "n" * 257}, "name: must be at most 256 characters long"),
        ({"nmae": "x"}, "nmae"),
    ],
)
async def test_a_wrong_body_is_refused_with_its_place(served: Served, body: object, message: str) -> None:
    answer = await served.call("POST", f"{await environment(served)}/keys", body)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert message in answer.error[2]


async def test_cloud_and_archived_environments_get_no_keys(served: Served) -> None:
    answer = await served.call("POST", f"{await environment(served, 'cloud')}/keys", {})
    assert answer.status == 400
    assert "is not self-hosted" in answer.error[2]
    path = await environment(served)
    await served.call("POST", f"{path}/archive")
    answer = await served.call("POST", f"{path}/keys", {})
    assert answer.body["error"]["details"] == {"error_code": "environment_archived"}


async def test_one_key_more_than_there_may_be_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_keys, "KEYS_MAX", 2)
    path = await environment(served)
    assert [(await served.call("POST", f"{path}/keys", {})).status for _ in range(3)] == [200, 200, 400]
