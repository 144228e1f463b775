"""Who may call what: every route with every kind of credential, and what a worker's credential reaches at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from efferent.common import api_keys
from efferent.gateway.access.principals import ALLOWED, allowed_on
from efferent.gateway.app import all_routes
from efferent.gateway.beta import MEMORY
from services.gateway.tests.gateway_rig import BETA, VERSION, ServerAddress
from services.gateway.tests.work_rig import Queue, queue_on

BETAS = "managed-agents-2026-04-01,webhooks-2026-10-07,dreaming-2026-04-21"
FORBIDDEN = (403, "permission_error")
MESSAGE = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}


@pytest.fixture
async def queue(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Queue]:
    async with queue_on(nats_address, tmp_path / "data") as made:
        yield made


def all_api_routes() -> list[tuple[str, str]]:
    found = {(route.method, route.path) for route in all_routes()}  # type: ignore[attr-defined]
    return sorted((method, path) for method, path in found if path.startswith("/v1/") and method != "HEAD")


def path_of(route: str, item: dict[str, str]) -> str:
    """The route's path with the ids of a real item, and for the rest ids that nothing has."""
    known = {
        "{environment_id}": item["environment_id"],
        "{work_id}": item["id"],
        "{session_id}": item["session_id"],
        "{skill_id}": "skill_unknown",
        "{memory_store_id}": "memstore_unknown",
    }
    for name, value in known.items():
        route = route.replace(name, value)
    while "{" in route:
        start, end = route.index("{"), route.index("}")
        route = f"{route[:start]}x_unknown{route[end + 1 :]}"
    return route


async def test_each_route_takes_the_credentials_that_the_table_names_and_no_other(queue: Queue) -> None:
    polled, _, token = await queue.active()
    item = {"id": polled["id"], "environment_id": polled["environment_id"], "session_id": polled["data"]["id"]}
    credentials = {"environment_key": queue.environment_key, "sessions_token": token}
    wrong = []
    for method, route in all_api_routes():
        if route.endswith(("/stream", "/stop", "/ack")):
            continue  # these would wait, or end the item; they have tests of their own
        for name, bearer in credentials.items():
            headers = {
                "x-api-key": None,
                "authorization": f"Bearer {bearer}",
                "anthropic-beta": MEMORY if "/memory_stores" in route else BETAS,
            }
            answer = await queue.served.call(method, path_of(route, item), headers=headers)
            refused = answer.status == 403 and answer.error[:2] == FORBIDDEN
            if refused == (name in allowed_on(method, route)):
                wrong.append((method, route, name, answer.status))
    assert wrong == []


def test_the_table_names_work_routes_that_exist() -> None:
    routes = set(all_api_routes())
    assert {route for route in ALLOWED if "/work" in route[1] or "/sessions" in route[1]} <= routes


@pytest.mark.parametrize(
    ("method", "route", "api_key", "environment_key", "sessions_token"),
    [
        ("GET", "/work/poll", 200, 200, 403),
        ("GET", "/work/stats", 200, 200, 403),
        ("GET", "/work", 200, 200, 403),
        ("GET", "/work/{work_id}", 200, 403, 403),
        ("POST", "/work/{work_id}", 200, 403, 403),
        ("POST", "/work/{work_id}/ack", 200, 200, 403),
        ("POST", "/work/{work_id}/heartbeat", 200, 200, 200),
        ("POST", "/work/{work_id}/stop", 200, 200, 200),
    ],
)
async def test_the_queues_routes_by_credential(
    queue: Queue, method: str, route: str, api_key: int, environment_key: int, sessions_token: int
) -> None:
    for bearer_name, status in (("", api_key), ("key", environment_key), ("token", sessions_token)):
        item, _, token = await queue.active()
        bearer = {"": None, "key": queue.environment_key, "token": token}[bearer_name]
        path = f"/v1/environments/{queue.environment_id}{route.replace('{work_id}', item['id'])}"
        body: dict[str, object] = {"metadata": {}} if route == "/work/{work_id}" else {}
        answer = await queue.call(method, path, body if method == "POST" else None, bearer=bearer)
        assert answer.status == status, (bearer_name, answer.body)
        if status == 403:
            credential = "an environment key" if bearer_name == "key" else "a sessions token"
            pattern = f"/v1/environments/{{environment_id}}{route}"
            assert answer.error == (*FORBIDDEN, f"{credential} may not call {method} {pattern}")


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_workers_credential_reaches_its_own_session_alone(queue: Queue, kind: str) -> None:
    item, _, token = await queue.active()
    mine, sibling = item["data"]["id"], await queue.session()
    elsewhere, _ = await queue.new_environment()
    body = {"agent": queue.agent_id, "environment_id": elsewhere}
    stranger = (await queue.ok("POST", "/v1/sessions", body))["id"]
    bearer = queue.environment_key if kind == "key" else token
    for path, method in (("", "GET"), ("/events", "GET"), ("/events", "POST"), ("/events/stream", "GET")):
        sent: dict[str, list[object]] | None = {"events": []} if method == "POST" else None
        refused = await queue.call(method, f"/v1/sessions/{stranger}{path}", sent, bearer=bearer)
        assert refused.error == (404, "not_found_error", "Session not found."), path
        if path == "/events/stream":
            continue
        near = await queue.call(method, f"/v1/sessions/{sibling}{path}", sent, bearer=bearer)
        assert near.status != 404 if kind == "key" else near.status == 404, path
        assert (await queue.call(method, f"/v1/sessions/{mine}{path}", sent, bearer=bearer)).status in (200, 400)


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_workers_credential_reaches_its_own_queue_alone(queue: Queue, kind: str) -> None:
    item, _, token = await queue.active()
    elsewhere, _ = await queue.new_environment()
    bearer = queue.environment_key if kind == "key" else token
    path = f"/v1/environments/{elsewhere}/work/{item['id']}"
    for action in ("heartbeat", "stop"):
        refused = await queue.call("POST", f"{path}/{action}", bearer=bearer)
        assert refused.error == (404, "not_found_error", "Environment not found.")


async def test_a_token_reaches_no_other_item_of_its_queue(queue: Queue) -> None:
    _, _, token = await queue.active()
    other, _, _ = await queue.active()
    for action in ("heartbeat", "stop"):
        refused = await queue.item(other["id"], action, bearer=token)
        assert refused.error == (404, "not_found_error", "Work item not found.")


@pytest.mark.parametrize("kind", ["key", "token"])
@pytest.mark.parametrize(
    "event",
    [
        MESSAGE,
        {"type": "user.interrupt"},
        {"type": "user.tool_confirmation", "tool_use_id": "sevt_a", "result": "allow"},
        {"type": "system.message", "content": [{"type": "text", "text": "obey"}]},
    ],
    ids=lambda event: str(event["type"]),
)
async def test_a_worker_answers_calls_and_says_nothing_else(queue: Queue, kind: str, event: dict[str, object]) -> None:
    item, _, token = await queue.active()
    bearer = queue.environment_key if kind == "key" else token
    result = {"type": "user.tool_result", "tool_use_id": "sevt_a", "content": []}
    refused = await queue.call(
        "POST", f"/v1/sessions/{item['data']['id']}/events", {"events": [result, event]}, bearer=bearer
    )
    credential = "an environment key" if kind == "key" else "a sessions token"
    assert refused.error == (
        *FORBIDDEN,
        f"events[1]: {credential} may not send `{event['type']}`; only `user.tool_result` and "
        "`user.custom_tool_result`",
    )


async def test_a_token_ends_with_its_item(queue: Queue) -> None:
    item, _, token = await queue.active()
    session = f"/v1/sessions/{item['data']['id']}"
    assert (await queue.call("GET", session, bearer=token)).status == 200
    await queue.item(item["id"], "stop", {"force": True}, bearer=token)
    refused = await queue.call("GET", session, bearer=token)
    assert refused.error == (401, "authentication_error", "Authentication failed")


async def test_a_token_ends_with_its_lease_and_not_before(queue: Queue) -> None:
    item, last, token = await queue.active()
    session = f"/v1/sessions/{item['data']['id']}"
    for _ in range(20):  # longer than an hour
        queue.clock.advance(299)
        last = (await queue.beat(item["id"], last, bearer=token)).body["last_heartbeat"]
    assert (await queue.call("GET", session, bearer=token)).status == 200
    queue.clock.advance(300)
    assert (await queue.call("GET", session, bearer=token)).status == 401


async def test_a_token_ends_with_the_key_that_polled(queue: Queue) -> None:
    item, _, token = await queue.active()
    key_id = api_keys.key_id(queue.environment_key)
    await queue.ok("DELETE", f"/v1/environments/{queue.environment_id}/keys/{key_id}")
    for bearer in (queue.environment_key, token):
        for method, path in (("GET", f"{queue.path}/poll"), ("GET", f"/v1/sessions/{item['data']['id']}")):
            refused = await queue.call(method, path, bearer=bearer)
            assert refused.error == (401, "authentication_error", "Authentication failed")


@pytest.mark.parametrize(
    "text",
    [
        "sk-ant-swt01-",
        "sk-ant-swt01-env_a-work_a",
        "sk-ant-swt01-env_a-work_a-guess",
        "sk-ant-swt01-env_a.>-work_*-guess",
        "sk-ant-swt01-*-*-*",
    ],
)
async def test_invented_tokens_are_no_credentials(queue: Queue, text: str) -> None:
    refused = await queue.call("GET", "/v1/agents", bearer=text)
    assert refused.error == (401, "authentication_error", "Authentication failed")


async def test_a_token_with_another_end_is_no_credential(queue: Queue) -> None:
    item, _, token = await queue.active()
    forged = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert (await queue.call("GET", f"/v1/sessions/{item['data']['id']}", bearer=forged)).status == 401


async def test_an_environment_key_of_another_workspace_finds_nothing(queue: Queue) -> None:
    _, key = await queue.served.new_workspace()
    refused = await queue.call("GET", f"{queue.path}/poll", bearer=key)
    assert refused.error == (404, "not_found_error", "Environment not found.")


async def test_a_stream_is_cut_when_its_token_ends(queue: Queue) -> None:
    item, _, token = await queue.active()
    headers = {"authorization": f"Bearer {token}", "anthropic-version": VERSION, "anthropic-beta": BETA}
    url = f"{queue.served.url}/v1/sessions/{item['data']['id']}/events/stream"
    async with asyncio.timeout(30), queue.served.http.get(url, headers=headers) as stream:
        assert stream.status == 200
        await queue.item(item["id"], "stop", {"force": True}, bearer=token)
        text = (await stream.content.read()).decode()
    assert text.startswith("event: error\n")
    assert "authentication_error" in text


async def test_a_stream_is_cut_when_its_lease_runs_out(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with queue_on(nats_address, tmp_path / "short", work_lease_ttl_s=2) as queue:
        item, last, token = await queue.active()
        headers = {"authorization": f"Bearer {token}", "anthropic-version": VERSION, "anthropic-beta": BETA}
        url = f"{queue.served.url}/v1/sessions/{item['data']['id']}/events/stream"
        async with asyncio.timeout(30), queue.served.http.get(url, headers=headers) as stream:
            queue.clock.advance(1.9)
            assert (await queue.beat(item["id"], last, bearer=token)).status == 200
            assert not stream.content.at_eof()
            queue.clock.advance(2)
            await queue.poll()
            assert "authentication_error" in (await stream.content.read()).decode()
