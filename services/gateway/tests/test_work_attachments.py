"""What the worker of a session reaches of skills and memory: what the session has, and no more than it may."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from efferent.gateway.beta import MEMORY
from services.gateway.tests.gateway_rig import Answer, ServerAddress
from services.gateway.tests.work_rig import Queue, queue_on, token_of

SKILL_MD = b"---\nname: pdf-tools\ndescription: Reads PDFs.\n---\nRead them.\n"


@pytest.fixture
async def queue(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Queue]:
    async with queue_on(nats_address, tmp_path / "data") as made:
        yield made


async def call(queue: Queue, method: str, path: str, body: object = None, *, bearer: str | None = None) -> Answer:
    """A request as clients send it to memory stores."""
    headers: dict[str, str | None] = {"anthropic-beta": MEMORY}
    if bearer is not None:
        headers |= {"x-api-key": None, "authorization": f"Bearer {bearer}"}
    return await queue.served.call(method, path, body, headers=headers)


async def store(queue: Queue, name: str) -> str:
    made = await call(queue, "POST", "/v1/memory_stores", {"name": name})
    assert made.status == 200, made.body
    return str(made.body["id"])


async def claimed(queue: Queue, **options: Any) -> str:
    """The token of the worker of a new session."""
    body = {"agent": queue.agent_id, "environment_id": queue.environment_id, **options}
    session = await queue.ok("POST", "/v1/sessions", body)
    item = await queue.poll()
    assert item["data"]["id"] == session["id"]
    return token_of(item)


async def test_a_token_writes_to_a_store_of_its_session(queue: Queue) -> None:
    store_id = await store(queue, "notes")
    token = await claimed(queue, resources=[{"type": "memory_store", "memory_store_id": store_id}])
    path = f"/v1/memory_stores/{store_id}/memories"
    made = await call(queue, "POST", path, {"path": "/a.md", "content": "one"}, bearer=token)
    assert made.status == 200, made.body
    listed = await call(queue, "GET", f"{path}?view=full&limit=20", bearer=token)
    assert [memory["content"] for memory in listed.body["data"]] == ["one"]
    one = f"{path}/{made.body['id']}"
    assert (await call(queue, "POST", one, {"content": "two"}, bearer=token)).status == 200
    assert (await call(queue, "GET", one, bearer=token)).status == 200
    assert (await call(queue, "DELETE", one, bearer=token)).status == 200


async def test_a_read_only_store_is_read_and_not_written(queue: Queue) -> None:
    store_id = await store(queue, "rules")
    resource = {"type": "memory_store", "memory_store_id": store_id, "access": "read_only"}
    token = await claimed(queue, resources=[resource])
    path = f"/v1/memory_stores/{store_id}/memories"
    assert (await call(queue, "GET", path, bearer=token)).status == 200
    refused = await call(queue, "POST", path, {"path": "/a.md", "content": "one"}, bearer=token)
    assert refused.error[:2] == (403, "permission_error")
    assert refused.error[2].startswith(f"memory store {store_id} is attached to session sesn_")
    assert refused.error[2].endswith(" as read_only")


async def test_other_stores_do_not_exist_for_a_token(queue: Queue) -> None:
    attached, other = await store(queue, "mine"), await store(queue, "other")
    token = await claimed(queue, resources=[{"type": "memory_store", "memory_store_id": attached}])
    for method in ("GET", "POST"):
        refused = await call(queue, method, f"/v1/memory_stores/{other}/memories", bearer=token)
        assert refused.error == (404, "not_found_error", "Memory store not found.")


async def test_an_environment_key_reaches_no_memory(queue: Queue) -> None:
    store_id = await store(queue, "mine")
    await claimed(queue, resources=[{"type": "memory_store", "memory_store_id": store_id}])
    refused = await call(queue, "GET", f"/v1/memory_stores/{store_id}/memories", bearer=queue.environment_key)
    assert refused.error[:2] == (403, "permission_error")


async def test_a_token_reaches_the_skills_of_its_agent_alone(queue: Queue) -> None:
    sdk = queue.served.sdk()
    mine = await sdk.beta.skills.create(files=[("pdf-tools/SKILL.md", SKILL_MD)])
    other = await sdk.beta.skills.create(files=[("docs/SKILL.md", SKILL_MD.replace(b"pdf-tools", b"docs"))])
    tools = [{"type": "agent_toolset_20260401"}]
    skills = [{"type": "custom", "skill_id": mine.id}]
    agent = {"name": "skilled", "model": "claude-sonnet-5-5", "tools": tools, "skills": skills}
    queue.agent_id = (await queue.ok("POST", "/v1/agents", agent))["id"]
    token = await claimed(queue)
    for bearer, reached in ((token, 404), (queue.environment_key, 200)):
        for tail in ("", "/latest", f"/{mine.latest_version_id}/content"):
            answer = await queue.call("GET", f"/v1/skills/{mine.id}/versions{tail}", bearer=bearer)
            assert answer.status == 200, (tail, answer.body)
        answer = await queue.call("GET", f"/v1/skills/{other.id}/versions/latest", bearer=bearer)
        assert answer.status == reached
