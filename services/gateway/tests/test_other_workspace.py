"""Every route with an id in its path answers 404 to a key of another workspace, and no list shows anything of it."""

import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson
import pytest
from aiohttp import web

from efferent.common.runtime.clock import RandomSeeds
from efferent.gateway.app import all_routes
from services.gateway.tests.gateway_rig import BETA, VERSION, Answer, Served

MODEL: Final = "claude-sonnet-5-5"
TOOLS: Final = [{"type": "agent_toolset_20260401"}]
SKILL: Final = b"---\nname: greeting\ndescription: Greets.\n---\nSay hello.\n"
BETAS: Final = {
    "/v1/dreams": f"{BETA},dreaming-2026-04-21",
    "/v1/organizations": "webhooks-2026-10-07",
    "/v1/memory_stores": "agent-memory-2026-07-22",
}
FREE: Final = frozenset({"/v1/models/{model_id}"})
"""What belongs to no workspace."""
UNSCOPED_LISTS: Final = ("/v1/models",)
ORGANIZATION: Final = "/v1/organizations/"
"""For keys of the default workspace alone."""

BODIES: Final[Mapping[tuple[str, str], Any]] = {
    ("POST", "/v1/vaults/{vault_id}/credentials"): {
        "auth": {"type": "static_bearer", "token": "t", "mcp_server_url": "https://a.example.com/mcp"}
    },
    ("POST", "/v1/memory_stores/{memory_store_id}/memories"): {"path": "/a.md", "content": "x"},
    ("POST", "/v1/sessions/{session_id}/events"): {"events": [{"type": "user.interrupt"}]},
    ("POST", "/v1/sessions/{session_id}/resources"): {"type": "file", "file_id": "file_aaaaaaaaaaaaaaaaaaaaaaaa"},
    ("POST", "/v1/sessions/{session_id}/resources/{resource_id}"): {"authorization_token": "t"},
    ("POST", "/v1/user_profiles/{user_profile_id}/action_urls"): {"action": {"type": "enroll_end_user"}},
}
"""Bodies of the routes that want more than an empty object."""


def headers(served: Served, path: str, key: str) -> dict[str, str]:
    beta = next((value for prefix, value in BETAS.items() if path.startswith(prefix)), BETA)
    return {"x-api-key": key, "anthropic-beta": beta, "anthropic-version": VERSION}


async def create(served: Served, path: str, body: object) -> dict[str, Any]:
    answer = await served.call("POST", path, body, headers=headers(served, path, served.key))
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.body
    return made


async def upload(served: Served, path: str, field: str, name: str, content: bytes) -> dict[str, Any]:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field(field, content, filename=name)
    async with served.http.post(served.url + path, data=form, headers=headers(served, path, served.key)) as response:
        assert response.status == 200, await response.text()
        made: dict[str, Any] = await response.json()
        return made


async def one_of_each(served: Served) -> dict[str, str]:
    """The ids of one resource of each kind, all of one workspace, by the name of the parameter in paths."""
    seed = RandomSeeds().seed()
    agent = await create(served, "/v1/agents", {"name": "a", "model": MODEL, "tools": TOOLS})
    environment = await create(served, "/v1/environments", {"name": seed, "config": {"type": "self_hosted"}})
    await create(served, "/v1/sessions", {"agent": agent["id"], "environment_id": environment["id"]})
    work = await served.call("GET", f"/v1/environments/{environment['id']}/work")
    cloud = await create(served, "/v1/environments", {"name": f"{seed} cloud"})
    session = await create(served, "/v1/sessions", {"agent": agent["id"], "environment_id": cloud["id"]})
    threads = await served.call("GET", f"/v1/sessions/{session['id']}/threads")
    vault = await create(served, "/v1/vaults", {"display_name": "v"})
    credential = BODIES["POST", "/v1/vaults/{vault_id}/credentials"]
    store = await create(served, "/v1/memory_stores", {"name": "m"})
    memory = await create(served, f"/v1/memory_stores/{store['id']}/memories", {"path": "/b.md", "content": "b"})
    file = await upload(served, "/v1/files", "file", "notes.txt", b"notes")
    attached = {"type": "file", "file_id": file["id"]}
    dream = {
        "model": MODEL,
        "inputs": [
            {"type": "memory_store", "memory_store_id": store["id"]},
            {"type": "sessions", "session_ids": [session["id"]]},
        ],
    }
    skill = await upload(served, "/v1/skills", "files[]", "greeting/SKILL.md", SKILL)
    message = {"type": "user.message", "content": [{"type": "text", "text": "go"}]}
    schedule = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
    deployment = {
        "name": "d",
        "agent": agent["id"],
        "environment_id": environment["id"],
        "initial_events": [message],
        "schedule": schedule,
    }
    inputs = [
        {"type": "memory_store", "memory_store_id": store["id"]},
        {"type": "sessions", "session_ids": [session["id"]]},
    ]
    dream = {"inputs": inputs, "model": "offline/echo"}
    # Of webhook endpoints there is none: their routes refuse such a key before they look for one.
    return {
        "agent_id": agent["id"],
        "environment_id": environment["id"],
        "cloud_id": cloud["id"],
        "key_id": (await create(served, f"/v1/environments/{environment['id']}/keys", {}))["id"],
        "work_id": work.body["data"][0]["id"],
        "session_id": session["id"],
        "thread_id": threads.body["data"][0]["id"],
        "resource_id": (await create(served, f"/v1/sessions/{session['id']}/resources", attached))["id"],
        "vault_id": vault["id"],
        "credential_id": (await create(served, f"/v1/vaults/{vault['id']}/credentials", credential))["id"],
        "memory_store_id": store["id"],
        "memory_id": memory["id"],
        "memory_version_id": memory["memory_version_id"],
        "file_id": file["id"],
        "skill_id": skill["id"],
        "version": skill["latest_version_id"],
        "deployment_id": (await create(served, "/v1/deployments", deployment))["id"],
        "deployment_run_id": "drun_aaaaaaaaaaaaaaaaaaaaaaaa",
        "dream_id": (await create(served, "/v1/dreams", dream))["id"],
        "user_profile_id": (await create(served, "/v1/user_profiles", {}))["id"],
        "webhook_endpoint_id": "whe_aaaaaaaaaaaaaaaaaaaaaaaa",
    }


def api_routes() -> list[tuple[str, str]]:
    """Method and path pattern of every route of the API."""
    app = web.Application()
    app.add_routes(all_routes())
    found = [(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None]
    return [(method, path) for method, path in found if path.startswith("/v1/") and method != "HEAD"]


async def ask(served: Served, key: str, method: str, pattern: str, ids: Mapping[str, str]) -> Answer:
    path = re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], pattern)
    body = BODIES.get((method, pattern), {}) if method == "POST" else None
    if (method, pattern) == ("POST", "/v1/skills/{skill_id}/versions"):
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("files[]", SKILL, filename="greeting/SKILL.md")
        async with served.http.post(served.url + path, data=form, headers=headers(served, path, key)) as response:
            return Answer(response.status, response.headers.copy(), await response.json())
    return await served.call(method, path, body, headers=headers(served, path, key))


async def test_no_route_reaches_into_another_workspace(served: Served) -> None:
    ids = await one_of_each(served)
    _, other = await served.new_workspace()
    told: dict[str, tuple[int, str]] = {}
    for method, pattern in api_routes():
        if "{" not in pattern or pattern in FREE:
            continue
        answer = await ask(served, other, method, pattern, ids)
        refusal = (403, "permission_error") if pattern.startswith(ORGANIZATION) else (404, "not_found_error")
        if answer.error[:2] != refusal:
            told[f"{method} {pattern}"] = (answer.status, answer.body["error"]["message"])
    assert told == {}


async def test_no_list_shows_anything_of_another_workspace(served: Served) -> None:
    ids = await one_of_each(served)
    _, other = await served.new_workspace()
    for method, pattern in api_routes():
        if method != "GET" or "{" in pattern or pattern in UNSCOPED_LISTS or pattern.startswith(ORGANIZATION):
            continue
        answer = await ask(served, other, method, pattern, ids)
        assert answer.status == 200, (pattern, answer.body)
        assert answer.body["data"] == [], pattern


def naming(ids: Mapping[str, str], mine: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    """Requests of one workspace whose body or query names one resource of ``ids``; the rest of it is ``mine``."""
    session = {"agent": mine["agent_id"], "environment_id": mine["environment_id"]}
    cloud = {"agent": mine["agent_id"], "environment_id": mine["cloud_id"]}
    text = [{"type": "text", "text": "go"}]
    deployment = {"name": "d", **session, "initial_events": [{"type": "user.message", "content": text}]}
    source = {"type": "file", "file_id": ids["file_id"]}
    message = {"type": "user.message", "content": [{"type": "document", "source": source}]}
    skills = [{"type": "custom", "skill_id": ids["skill_id"]}]
    store = {"type": "memory_store", "memory_store_id": ids["memory_store_id"]}
    file = {"type": "file", "file_id": ids["file_id"]}

    def dream(store_id: str, session_id: str) -> dict[str, Any]:
        stores = {"type": "memory_store", "memory_store_id": store_id}
        return {"model": MODEL, "inputs": [stores, {"type": "sessions", "session_ids": [session_id]}]}

    def both(path: str, body: dict[str, Any]) -> list[tuple[str, str, Any]]:
        """The ways in which sessions and deployments name others."""
        return [
            ("POST", path, body | {"agent": ids["agent_id"]}),
            ("POST", path, body | {"environment_id": ids["environment_id"]}),
            ("POST", path, body | {"vault_ids": [ids["vault_id"]]}),
            ("POST", path, body | {"resources": [store]}),
            ("POST", path, body | {"environment_id": mine["cloud_id"], "resources": [file]}),
        ]

    return [
        *both("/v1/sessions", session),
        *both("/v1/deployments", deployment),
        ("POST", f"/v1/sessions/{mine['session_id']}/resources", {**file, "mount_path": "/a/file"}),
        ("POST", f"/v1/sessions/{mine['session_id']}/events", {"events": [message]}),
        ("POST", "/v1/sessions", cloud | {"initial_events": [message]}),
        ("POST", "/v1/agents", {"name": "a", "model": MODEL, "tools": TOOLS, "skills": skills}),
        ("POST", "/v1/dreams", dream(ids["memory_store_id"], mine["session_id"])),
        ("POST", "/v1/dreams", dream(mine["memory_store_id"], ids["session_id"])),
        ("GET", f"/v1/sessions?agent_id={ids['agent_id']}", None),
        ("GET", f"/v1/sessions?deployment_id={ids['deployment_id']}", None),
        ("GET", f"/v1/sessions?memory_store_id={ids['memory_store_id']}", None),
        ("GET", f"/v1/deployments?agent_id={ids['agent_id']}", None),
        ("GET", f"/v1/deployment_runs?deployment_id={ids['deployment_id']}", None),
        ("GET", f"/v1/files?scope_id={ids['session_id']}", None),
        ("GET", f"/v1/files?ids[]={ids['file_id']}", None),
    ]


def nowhere(ids: Mapping[str, str]) -> dict[str, str]:
    """Ids of the same kinds that nothing has."""
    return {name: f"{text.partition('_')[0]}_{'a' * 24}" for name, text in ids.items()}


async def test_naming_a_resource_of_another_workspace_is_as_naming_one_that_nobody_has(served: Served) -> None:
    """Also in bodies and queries: neither used nor told of."""
    theirs = await one_of_each(served)
    own_key = served.key
    _, served.key = await served.new_workspace()
    try:
        mine = await one_of_each(served)
        unknown = nowhere(theirs)
        wrong: list[Any] = []
        requests = zip(naming(theirs, mine), naming(unknown, mine), strict=True)
        for (method, path, body), (_, unknown_path, unknown_body) in requests:
            found = await served.call(method, path, body, headers=headers(served, path, served.key))
            expected = await served.call(method, unknown_path, unknown_body, headers=headers(served, path, served.key))
            if (found.status, said(found, theirs)) != (expected.status, said(expected, unknown)):
                wrong.append((method, path, found.body, expected.body))
            elif method == "POST":
                assert found.status in (400, 404), (path, body)
            else:
                assert found.status in (400, 404) or found.body["data"] == [], path
        assert wrong == []
        for method, path, body in naming(mine, mine):  # what is one's own may be named
            answer = await served.call(method, path, body, headers=headers(served, path, served.key))
            assert answer.status == 200, (path, body, answer.body)
    finally:
        served.key = own_key


def said(answer: Answer, ids: Mapping[str, str]) -> str:
    """The answer's text without the ids that were named and without what differs between any two answers."""
    text = orjson.dumps({name: value for name, value in answer.body.items() if name != "request_id"}).decode()
    for identifier in ids.values():
        text = text.replace(identifier, "...")
    return text


@pytest.mark.parametrize(
    ("parent", "pattern"),
    [
        ("vault_id", "/v1/vaults/{vault_id}/credentials/{credential_id}"),
        ("memory_store_id", "/v1/memory_stores/{memory_store_id}/memories/{memory_id}"),
        ("memory_store_id", "/v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}"),
        ("session_id", "/v1/sessions/{session_id}/threads/{thread_id}"),
    ],
)
async def test_a_child_is_not_found_under_ones_own_parent_when_it_is_anothers(
    served: Served, parent: str, pattern: str
) -> None:
    theirs = await one_of_each(served)
    own_key = served.key
    _, served.key = await served.new_workspace()
    try:
        ours = await one_of_each(served)
        answer = await ask(served, served.key, "GET", pattern, {**theirs, parent: ours[parent]})
        assert answer.error[:2] == (404, "not_found_error")
    finally:
        served.key = own_key
