"""``/v1/organizations/webhooks`` with the official client and without: shapes, secrets, pages, limits, refusals."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from efferent.common import api_keys
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, SigningSecrets
from efferent.common.domain.webhook_types import WEBHOOK_TYPES
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.metrics import Metrics
from efferent.common.runtime.nats_server import ServerSpec
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.envelope import CannotOpen
from efferent.common.secrets.root_key import SecretSettings
from services.gateway.tests.gateway_rig import CLOCK, ROOT_KEY, Answer, Served, ServerAddress, serve

PATH = "/v1/organizations/webhooks"
URL = "https://hooks.example.com/efferent"
WEBHOOKS = {"anthropic-beta": "webhooks-2026-10-07"}
PARSE = "Failed to parse request: "
NEVER = "whep_aaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway on a log of its own, called with a key of the default workspace."""
    spec = ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server, serve(ServerAddress(server.url, spec.token), tmp_path) as served:
        served.key, made = await api_keys.create_key(served.control_log, name="home", clock=CLOCK)
        served.key_id, served.workspace_id = made.id, HOME
        yield served


async def call(served: Served, method: str, path: str = "", body: object = None, **headers: str | None) -> Answer:
    """One request with the beta value of these routes."""
    return await served.call(method, PATH + path, body, headers={**WEBHOOKS, **headers})


async def make(served: Served, **fields: Any) -> dict[str, Any]:
    """A new endpoint."""
    answer = await call(served, "POST", body={"url": URL, "enabled_events": ["agent.created"], **fields})
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


async def test_a_new_endpoint_shows_its_secret_once(home: Served) -> None:
    made = await make(home)
    secret = made.pop("signing_secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert made["id"].startswith("whep_")
    assert made["created_at"] == made["updated_at"]
    assert {name: made[name] for name in ("url", "name", "description", "enabled_events", "state")} == {
        "url": URL,
        "name": "",
        "description": "",
        "enabled_events": ["agent.created"],
        "state": "enabled",
    }
    assert made["disabled_reason"] == ""
    assert len(made) == 9
    read = await call(home, "GET", f"/{made['id']}")
    assert read.body == made
    listed = await call(home, "GET")
    assert listed.body == {"data": [made], "has_more": False, "first_id": made["id"], "last_id": made["id"]}


async def test_the_official_client_does_all_six_things(home: Served) -> None:
    webhooks = home.sdk().beta.organization.webhooks
    made = await webhooks.create(url=URL, enabled_events=["user_profile.program_status_updated"], name="n")
    assert (await webhooks.retrieve(made.id)).name == "n"
    changed = await webhooks.update(made.id, description="d", state="disabled", url=f"{URL}/other")
    assert (changed.name, changed.description, changed.state, changed.url) == ("n", "d", "disabled", f"{URL}/other")
    assert changed.disabled_reason == ""
    kept = await webhooks.update(made.id, enabled_events=[])
    assert kept == changed
    assert [endpoint.id async for endpoint in webhooks.list()] == [made.id]
    new = await webhooks.regenerate_signing_secret(made.id)
    assert new.signing_secret not in ("", made.signing_secret)
    gone = await webhooks.delete(made.id)
    assert (gone.id, gone.type) == (made.id, "webhook_endpoint_deleted")
    assert (await call(home, "GET", f"/{made.id}")).error == (404, "not_found_error", "Webhook endpoint not found.")


async def test_no_update_writes_no_record(home: Served) -> None:
    made = await make(home)
    before = await home.control_log.last_sequence()
    await call(home, "POST", f"/{made['id']}", {})
    await call(home, "POST", f"/{made['id']}", {"url": URL, "state": "enabled", "enabled_events": ["agent.created"]})
    assert await home.control_log.last_sequence() == before


async def test_a_replaced_secret_is_destroyed_also_when_many_replace_it_at_once(home: Served, tmp_path: Path) -> None:
    made = await make(home)
    aggregates = Aggregates(home.control_log, LogSets(home.control_log), CLOCK, Metrics(), write_deadline_s=5)
    roots = SecretSettings(key=SecretStr(ROOT_KEY)).root_keys(tmp_path)
    secrets = SigningSecrets(aggregates, SecretBox(JetStreamDataKeys(home.connection), roots))
    first = await WEBHOOK_ENDPOINTS.get(aggregates, HOME, made["id"])
    assert await secrets.read(first) == made["signing_secret"]
    answers = await asyncio.gather(*(call(home, "POST", f"/{made['id']}/regenerate_signing_secret") for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    with pytest.raises(CannotOpen):
        await secrets.read(first)
    newest = await WEBHOOK_ENDPOINTS.get(aggregates, HOME, made["id"])
    assert await secrets.read(newest) in [answer.body["signing_secret"] for answer in answers]


async def test_secrets_are_in_no_record(home: Served) -> None:
    made = await make(home)
    new = (await call(home, "POST", f"/{made['id']}/regenerate_signing_secret")).body["signing_secret"]
    async for raw in home.control_log.read("control.>"):
        for secret in (made["signing_secret"], new):
            assert secret.removeprefix("whsec_").encode() not in raw.payload


async def test_without_the_beta_value_the_routes_do_not_exist(home: Served) -> None:
    made = await make(home)
    for beta in (None, "managed-agents-2026-04-01"):
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("GET", f"/{made['id']}"),
            ("POST", f"/{made['id']}"),
            ("DELETE", f"/{made['id']}"),
            ("POST", f"/{made['id']}/regenerate_signing_secret"),
        ):
            answer = await home.call(method, PATH + path, {}, headers={"anthropic-beta": beta})
            assert answer.error == (404, "not_found_error", "not found"), (method, path, beta)


async def test_keys_of_other_workspaces_may_not_manage_the_organization(home: Served) -> None:
    made = await make(home)
    _, other = await home.new_workspace()
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        answer = await home.call(method, PATH + path, {}, headers={**WEBHOOKS, "x-api-key": other})
        status, kind, message = answer.error
        assert (status, kind) == (403, "permission_error")
        assert message == "Webhook endpoints of the organization need an API key of the default workspace."


async def test_the_thirty_third_endpoint_is_refused(home: Served) -> None:
    for _ in range(31):
        await make(home)
    body = {"url": URL, "enabled_events": ["agent.created"]}
    answers = await asyncio.gather(*(call(home, "POST", body=body) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]
    refused = await call(home, "POST", body=body)
    assert refused.error == (
        400,
        "invalid_request_error",
        "An organization can have at most 32 webhook endpoints.",
    )
    listed = await call(home, "GET", "?limit=100")
    assert len(listed.body["data"]) == 32
    await call(home, "DELETE", f"/{listed.body['first_id']}")
    await make(home)


async def test_pages_go_both_ways(home: Served) -> None:
    ids = [(await make(home))["id"] for _ in range(5)]
    newest = ids[::-1]

    async def page(query: str) -> tuple[list[str], bool]:
        body = (await call(home, "GET", query)).body
        found = [endpoint["id"] for endpoint in body["data"]]
        assert (body["first_id"], body["last_id"]) == ((found[0], found[-1]) if found else (None, None))
        return found, body["has_more"]

    assert await page("?limit=2") == (newest[:2], True)
    assert await page(f"?limit=2&after_id={newest[1]}") == (newest[2:4], True)
    assert await page(f"?limit=2&after_id={newest[3]}") == (newest[4:], False)
    assert await page(f"?after_id={newest[4]}") == ([], False)
    assert await page(f"?limit=2&before_id={newest[4]}") == (newest[:2], True)
    assert await page(f"?limit=10&before_id={newest[2]}") == (newest[:2], False)
    assert await page("?order=asc&limit=0") == (ids, False)
    walked = [endpoint.id async for endpoint in home.sdk().beta.organization.webhooks.list(limit=2)]
    assert walked == newest


BAD_LISTS = [
    ("?limit=101", "limit: must be between 0 and 100"),
    ("?limit=-1", "limit: must be between 0 and 100"),
    ("?limit=x", 'limit: "x" is not a valid integer'),
    ("?order=up", 'order: "up" is not a valid value; expected one of asc, desc'),
    (f"?after_id={NEVER}", f'after_id: there is no webhook endpoint "{NEVER}" in this list'),
    (f"?before_id={NEVER}", f'before_id: there is no webhook endpoint "{NEVER}" in this list'),
    ("?after_id=a&before_id=b", "after_id: only one of after_id and before_id may be given"),
]
BAD_BODIES = [
    ({"enabled_events": ["agent.created"]}, "url: field is required"),
    ({"url": URL}, "enabled_events: field is required"),
    ({"url": URL, "enabled_events": []}, "enabled_events: must have at least 1 entry"),
    ({"url": URL, "enabled_events": "agent.created"}, "enabled_events: must be a list"),
    ({"url": 1, "enabled_events": ["agent.created"]}, "url: must be a string"),
    ({"url": URL, "enabled_events": ["agent.created"], "name": None}, "name: must be a string"),
    ({"url": URL, "enabled_events": ["agent.created"], "name": "n" * 257}, "name: must be at most 256 characters long"),
    (
        {"url": URL, "enabled_events": ["agent.created"], "description": "d" * 2_049},
        "description: must be at most 2048 characters long",
    ),
    ({"url": f"https://a.example/{'x' * 2_048}", "enabled_events": ["agent.created"]}, "url: must be at most 2048"),
    ({"url": URL, "enabled_events": ["agent.created"], "color": 1}, "color: unknown field"),
    ({"url": "http://hooks.example.com", "enabled_events": ["agent.created"]}, "url: must be an https:// URL"),
    ({"url": "https://hooks.example.com:444", "enabled_events": ["agent.created"]}, "url: must use port 443"),
    ({"url": "https://127.0.0.1", "enabled_events": ["agent.created"]}, "url: must have a public host"),
    ({"url": "https://[::ffff:10.0.0.1]", "enabled_events": ["agent.created"]}, "url: must have a public host"),
]


async def test_bad_lists_are_refused_with_their_reason(home: Served) -> None:
    for query, reason in BAD_LISTS:
        assert (await call(home, "GET", query)).error == (400, "invalid_request_error", reason), query


async def test_bad_bodies_are_refused_with_path_and_reason(home: Served) -> None:
    made = await make(home)
    before = await home.control_log.last_sequence()
    for body, reason in BAD_BODIES:
        status, kind, message = (await call(home, "POST", body=body)).error
        assert (status, kind) == (400, "invalid_request_error")
        assert message.startswith(PARSE + reason), message
    changes: list[tuple[object, str]] = [
        ({"state": "paused"}, 'state: "paused" is not a valid value; expected one of enabled, disabled'),
        ({"url": "https://localhost/"}, "url: must have a public host"),
        ({"url": ""}, "url: must be at least 1 character long"),
        ({"enabled_events": ["nothing.happened"]}, 'enabled_events[0]: "nothing.happened" is not a valid value'),
        ({"name": None}, "name: must be a string"),
        ({"signing_secret": "whsec_x"}, "signing_secret: unknown field"),
        (b"[", "the request body is not valid JSON"),
    ]
    for change, reason in changes:
        status, kind, message = (await call(home, "POST", f"/{made['id']}", change)).error
        assert (status, kind) == (400, "invalid_request_error")
        assert message.startswith(PARSE + reason), message
    assert await home.control_log.last_sequence() == before


async def test_an_unknown_event_type_is_refused_with_all_types_that_there_are(home: Served) -> None:
    _, _, message = (await call(home, "POST", body={"url": URL, "enabled_events": ["*"]})).error
    assert message == f'{PARSE}enabled_events[0]: "*" is not a valid value; expected one of {", ".join(WEBHOOK_TYPES)}'


async def test_ids_are_checked(home: Served) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/regenerate_signing_secret")):
        missing = await call(home, method, f"/{NEVER}{path}", {})
        assert missing.error == (404, "not_found_error", "Webhook endpoint not found.")
        malformed = await call(home, method, f"/agent_1{path}", {})
        assert malformed.error == (400, "invalid_request_error", "Invalid webhook endpoint ID.")


async def test_an_operator_may_allow_hosts_that_are_not_public(home: Served, tmp_path: Path) -> None:
    made = home.gateway._settings
    allowing = made.organization.model_copy(update={"webhook_allow": "127.0.0.1 hooks.corp.example"})
    address = ServerAddress(made.nats.url, made.nats.token_text() or "")
    async with serve(address, tmp_path / "other", organization=allowing) as served:
        served.key = home.key
        for url in ("http://127.0.0.1:8080/x", "http://hooks.corp.example/"):
            assert (await make(served, url=url))["url"] == url
        answer = await call(served, "POST", body={"url": "https://10.0.0.1/", "enabled_events": ["agent.created"]})
        assert answer.status == 400
