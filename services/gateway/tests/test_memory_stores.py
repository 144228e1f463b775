"""Memory stores over HTTP: their lives, who sees them, and the beta value of their routes."""

import re
from typing import Any

import anthropic
import pytest

from services.gateway.tests.gateway_rig import BETA, Served

LONG_DESCRIPTION_TEXT = "Failed to parse request: description: must be at most 1024 characters long"
MEMORY_BETA = "agent-memory-2026-07-22"


async def a_store(served: Served, name: str = "Notes") -> str:
    made = await served.call("POST", "/v1/memory_stores", {"name": name})
    assert made.status == 200, made.body
    return str(made.body["id"])


async def test_a_store_lives_from_create_to_delete(served: Served) -> None:
    sdk = served.sdk()
    store = await sdk.beta.memory_stores.create(name="Notes", description="About us", metadata={"team": "ops"})
    assert re.fullmatch("memstore_[a-z0-9]+", store.id)
    assert (store.type, store.name, store.description) == ("memory_store", "Notes", "About us")
    changed = await sdk.beta.memory_stores.update(store.id, description="", metadata={"team": None, "tier": "1"})
    assert (changed.name, changed.description, changed.metadata) == ("Notes", "", {"tier": "1"})
    assert await sdk.beta.memory_stores.retrieve(store.id) == changed
    archived = await sdk.beta.memory_stores.archive(store.id)
    assert archived.archived_at is not None
    assert await sdk.beta.memory_stores.archive(store.id) == archived
    assert [found.id async for found in sdk.beta.memory_stores.list()] == []
    assert [found.id async for found in sdk.beta.memory_stores.list(include_archived=True)] == [store.id]
    gone = await sdk.beta.memory_stores.delete(store.id)
    assert (gone.id, gone.type) == (store.id, "memory_store_deleted")
    with pytest.raises(anthropic.NotFoundError, match="Memory store not found"):
        await sdk.beta.memory_stores.retrieve(store.id)


async def test_names_need_not_be_unique_and_lists_are_newest_first(served: Served) -> None:
    ids = [await a_store(served) for _ in range(3)]
    sdk = served.sdk()
    assert [found.id async for found in sdk.beta.memory_stores.list(limit=2)] == ids[::-1]
    middle = (await sdk.beta.memory_stores.retrieve(ids[1])).created_at
    assert [one.id async for one in sdk.beta.memory_stores.list(created_at_gte=middle)] == [ids[2], ids[1]]
    assert [one.id async for one in sdk.beta.memory_stores.list(created_at_lte=middle)] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Failed to parse request: name: field is required"),
        ({"name": ""}, "Failed to parse request: name: must be at least 1 character long"),
        ({"name": "n" * 256}, "Failed to parse request: name: must be at most 255 characters long"),
        ({"name": "a\x07b"}, "name: must not contain control characters"),
        ({"name": "n", "description": "d" * 1025}, LONG_DESCRIPTION_TEXT),
        ({"name": "n", "metadata": {str(i): "v" for i in range(17)}}, "metadata: at most 16 pairs are allowed"),
    ],
)  # fmt: skip
async def test_a_wrong_store_is_refused_naming_the_field(served: Served, body: Any, message: str) -> None:
    refused = await served.call("POST", "/v1/memory_stores", body)
    assert refused.error == (400, "invalid_request_error", message)


async def test_an_archived_store_is_read_only(served: Served) -> None:
    store_id = await a_store(served)
    path = f"/v1/memory_stores/{store_id}"
    memory = (await served.call("POST", f"{path}/memories", {"path": "/a", "content": "x"})).body
    await served.call("POST", f"{path}/archive")
    one = f"{path}/memories/{memory['id']}"
    for method, where, body in (
        ("POST", path, {"name": "other"}),
        ("POST", f"{path}/memories", {"path": "/b", "content": "x"}),
        ("POST", one, {"content": "y"}),
        ("POST", one, {"path": "/c"}),
        ("DELETE", one, None),
    ):
        refused = await served.call(method, where, body)
        assert refused.error == (400, "invalid_request_error", "Memory store is archived.")
    assert (await served.call("GET", one)).body["content"] == "x"


async def test_a_deleted_store_takes_everything_with_it(served: Served) -> None:
    store_id = await a_store(served)
    path = f"/v1/memory_stores/{store_id}"
    memory = (await served.call("POST", f"{path}/memories", {"path": "/a", "content": "s3cret"})).body
    assert (await served.call("DELETE", path)).status == 200
    for where in ("", "/memories", f"/memories/{memory['id']}", "/memory_versions",
                  f"/memory_versions/{memory['memory_version_id']}"):  # fmt: skip
        assert (await served.call("GET", path + where)).error == (404, "not_found_error", "Memory store not found.")
    blobs = served.gateway._settings.machine.data_dir / "blobs"
    assert not [found for found in blobs.rglob("*") if found.is_file() and found.read_bytes() == b"s3cret"]


async def test_another_workspace_finds_nothing(served: Served) -> None:
    store_id = await a_store(served)
    path = f"/v1/memory_stores/{store_id}"
    memory = (await served.call("POST", f"{path}/memories", {"path": "/a", "content": "x"})).body
    _, key = await served.new_workspace()
    theirs = {"x-api-key": key}
    for method, where, body in (
        ("GET", "", None),
        ("POST", "", {"name": "mine"}),
        ("DELETE", "", None),
        ("POST", "/archive", None),
        ("GET", "/memories", None),
        ("POST", "/memories", {"path": "/b", "content": "x"}),
        ("GET", f"/memories/{memory['id']}", None),
        ("POST", f"/memories/{memory['id']}", {"content": "y"}),
        ("DELETE", f"/memories/{memory['id']}", None),
        ("GET", "/memory_versions", None),
        ("GET", f"/memory_versions/{memory['memory_version_id']}", None),
        ("POST", f"/memory_versions/{memory['memory_version_id']}/redact", None),
    ):
        refused = await served.call(method, path + where, body, headers=theirs)
        assert refused.error == (404, "not_found_error", "Memory store not found."), where
    assert (await served.call("GET", "/v1/memory_stores", headers=theirs)).body["data"] == []


async def test_either_beta_value_opens_the_routes_and_never_both(served: Served) -> None:
    for value in (BETA, MEMORY_BETA):
        assert (await served.call("GET", "/v1/memory_stores", headers={"anthropic-beta": value})).status == 200
    both = await served.call("GET", "/v1/memory_stores", headers={"anthropic-beta": f"{MEMORY_BETA},{BETA}"})
    assert both.error == (
        400,
        "invalid_request_error",
        f"`{BETA}` and `{MEMORY_BETA}` cannot both be in the `anthropic-beta` header.",
    )
    assert (await served.call("GET", "/v1/memory_stores", headers={"anthropic-beta": None})).status == 404
    assert (await served.call("GET", "/v1/sessions", headers={"anthropic-beta": MEMORY_BETA})).status == 404
