"""Versions of memories over HTTP: who changed what, and how a version is made to say nothing."""

from typing import Any

import pytest

from efferent.common.jetstream import subjects
from efferent.gateway.log_health import WatchedControlLog
from services.gateway.tests.gateway_rig import Answer, Served
from services.gateway.tests.test_memories import written
from services.gateway.tests.test_memory_stores import a_store

SECRET = "s3cret-content"


async def versions(served: Served, store_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = await served.call("GET", f"/v1/memory_stores/{store_id}/memory_versions?{query}")
    assert answer.status == 200, answer.body
    return list(answer.body["data"])


async def version(served: Served, store_id: str, version_id: str) -> dict[str, Any]:
    return dict((await served.call("GET", f"/v1/memory_stores/{store_id}/memory_versions/{version_id}")).body)


async def redact(served: Served, store_id: str, version_id: str) -> Answer:
    return await served.call("POST", f"/v1/memory_stores/{store_id}/memory_versions/{version_id}/redact")


async def life(served: Served, store_id: str, path: str = "/private/s3cret-path") -> tuple[str, list[str]]:
    """A memory that is made, changed and deleted; its id and the ids of its versions, oldest first."""
    made = await written(served, store_id, path, SECRET)
    where = f"/v1/memory_stores/{store_id}/memories/{made['id']}"
    await served.call("POST", where, {"content": "harmless"})
    await served.call("DELETE", where)
    found = await versions(served, store_id, f"memory_id={made['id']}")
    return made["id"], [one["id"] for one in reversed(found)]


async def everything(served: Served, store_id: str) -> bytes:
    """All that the log says of the store, and all blobs."""
    pattern = subjects.control_fence("memory_store", store_id)
    records = [raw.payload async for raw in served.control_log.read(pattern)]
    blobs = served.gateway._settings.machine.data_dir / "blobs"
    return b"".join(records + [found.read_bytes() for found in blobs.rglob("*") if found.is_file()])


async def test_every_change_is_a_version_and_survives_the_memory(served: Served) -> None:
    store_id = await a_store(served)
    memory_id, _ = await life(served, store_id)
    deleted, modified, created = await versions(served, store_id, "view=full")
    assert [one["operation"] for one in (created, modified, deleted)] == ["created", "modified", "deleted"]
    assert [one["content"] for one in (created, modified, deleted)] == [SECRET, "harmless", None]
    assert (deleted["content_sha256"], deleted["content_size_bytes"]) == (None, None)
    actor = {"type": "api_actor", "api_key_id": served.key_id}
    assert all(one["created_by"] == actor and one["memory_id"] == memory_id for one in (created, modified, deleted))
    assert {one["path"] for one in (created, modified, deleted)} == {"/private/s3cret-path"}
    assert await version(served, store_id, created["id"]) == created
    assert [one["content"] for one in await versions(served, store_id)] == [None] * 3


async def test_filters(served: Served) -> None:
    store_id = await a_store(served)
    first, ids = await life(served, store_id, "/one")
    await life(served, store_id, "/two")
    assert [one["id"] for one in await versions(served, store_id, f"memory_id={first}")] == ids[::-1]
    assert {one["operation"] for one in await versions(served, store_id, "operation=modified")} == {"modified"}
    assert len(await versions(served, store_id, f"api_key_id={served.key_id}")) == 6
    for none in ("api_key_id=apikey_other", "session_id=sesn_1", "service_account_id=svac_1", "memory_id=mem_1"):
        assert await versions(served, store_id, none) == []
    at = (await version(served, store_id, ids[1]))["created_at"]
    assert [one["id"] for one in await versions(served, store_id, f"created_at[lte]={at}")] == [ids[1], ids[0]]
    assert len(await versions(served, store_id, f"created_at[gte]={at}")) == 5
    refused = await served.call("GET", f"/v1/memory_stores/{store_id}/memory_versions?operation=moved")
    assert refused.error[2] == 'operation: "moved" is not a valid value; expected one of created, modified, deleted'


async def test_versions_come_in_pages(served: Served) -> None:
    store_id = await a_store(served)
    made = await written(served, store_id, "/a", "0")
    for number in range(1, 24):
        await served.call("POST", f"/v1/memory_stores/{store_id}/memories/{made['id']}", {"content": str(number)})
    sdk = served.sdk().beta.memory_stores.memory_versions
    contents = [one.content async for one in sdk.list(store_id, limit=100, view="full")]
    assert contents == [str(number) for number in reversed(range(24))]
    page = await sdk.list(store_id, limit=100, view="full")
    assert len(page.data) == 20


async def test_redaction_removes_what_a_version_said_and_keeps_that_it_was(served: Served) -> None:
    store_id = await a_store(served)
    _, ids = await life(served, store_id)
    before = await version(served, store_id, ids[0])
    digest = before["content_sha256"].encode()
    said = await everything(served, store_id)
    assert all(part in said for part in (SECRET.encode(), digest, b"s3cret-path"))
    for version_id in ids:
        redacted = await redact(served, store_id, version_id)
        assert redacted.status == 200
        assert redacted.body["redacted_by"] == {"type": "api_actor", "api_key_id": served.key_id}
    after = await version(served, store_id, ids[0])
    gone = {"path": None, "content": None, "content_sha256": None, "content_size_bytes": None}
    redaction = {name: after[name] for name in ("redacted_at", "redacted_by")}
    assert after == before | gone | redaction
    assert redaction["redacted_at"] is not None
    said = await everything(served, store_id)
    assert not any(part in said for part in (SECRET.encode(), digest, b"s3cret-path"))
    assert (await redact(served, store_id, ids[0])).body == after  # again: nothing new
    found = await versions(served, store_id)
    assert [(one["id"], one["operation"]) for one in found] == [
        (ids[2], "deleted"), (ids[1], "modified"), (ids[0], "created"),
    ]  # fmt: skip


async def test_the_memory_stays_deleted_when_its_deletion_is_redacted(served: Served) -> None:
    store_id = await a_store(served)
    memory_id, ids = await life(served, store_id, "/a")
    await redact(served, store_id, ids[2])
    path = f"/v1/memory_stores/{store_id}/memories"
    assert (await served.call("GET", f"{path}/{memory_id}")).error == (404, "not_found_error", "Memory not found.")
    assert (await served.call("GET", path)).body["data"] == []
    await written(served, store_id, "/a")


async def test_what_a_memory_says_now_cannot_be_redacted(served: Served) -> None:
    store_id = await a_store(served)
    made = await written(served, store_id, "/a", "one")
    refused = await redact(served, store_id, made["memory_version_id"])
    assert refused.error == (
        400,
        "invalid_request_error",
        "The current version of a memory cannot be redacted; update or delete the memory first.",
    )
    await served.call("POST", f"/v1/memory_stores/{store_id}/memories/{made['id']}", {"path": "/b"})
    assert (await redact(served, store_id, made["memory_version_id"])).status == 200
    kept = await served.call("GET", f"/v1/memory_stores/{store_id}/memories/{made['id']}")
    assert (kept.body["path"], kept.body["content"]) == ("/b", "one")


async def test_a_redaction_that_a_crash_cut_short_is_finished_by_asking_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_id = await a_store(served)
    _, ids = await life(served, store_id)

    async def fail(self: object, sequence: int) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(WatchedControlLog, "erase", fail)
        assert (await redact(served, store_id, ids[0])).status == 500
    assert SECRET.encode() in await everything(served, store_id)
    assert (await redact(served, store_id, ids[0])).status == 200
    assert SECRET.encode() not in await everything(served, store_id)


@pytest.mark.parametrize("where", ["memory_versions/memver_none", "memories/mem_none"])
async def test_what_is_not_there_is_not_found(served: Served, where: str) -> None:
    store_id, other = await a_store(served), await a_store(served)
    answer = await served.call("GET", f"/v1/memory_stores/{store_id}/{where}")
    assert answer.error[:2] == (404, "not_found_error")
    made = await written(served, other, "/a")
    for elsewhere in (f"memories/{made['id']}", f"memory_versions/{made['memory_version_id']}"):
        assert (await served.call("GET", f"/v1/memory_stores/{store_id}/{elsewhere}")).status == 404
    assert (await served.call("GET", f"/v1/memory_stores/{store_id}/memories/nonsense")).status == 400
