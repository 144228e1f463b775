"""Memory stores in whole sessions: agents read them, what they write becomes versions, and the store wins conflicts."""

import asyncio
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError, NotFoundError

from tests.support.model_control import ModelControl
from tests.support.playing import DEADLINE_S, Played, bash, fresh_name, of_type, scripted, text_of


def attached(store_id: str, **fields: str) -> Any:
    return {"type": "memory_store", "memory_store_id": store_id, **fields}


async def said(played: Played, command: str) -> str:
    seen = await played.until_idle(scripted(bash(command), {"text": "done"}))
    (result,) = of_type(seen, "agent.tool_result")
    return text_of(result)


async def store_with(client: AsyncAnthropic, **memories: str) -> tuple[str, str]:
    """A new store's id and folder; memories are ``name=content`` at ``/notes/name.md``."""
    name = fresh_name("store")
    store = await client.beta.memory_stores.create(name=name, description="What we know.")
    for path, content in memories.items():
        await client.beta.memory_stores.memories.create(store.id, path=f"/notes/{path}.md", content=content)
    return store.id, f"/mnt/memory/{name}"


async def contents(client: AsyncAnthropic, store_id: str) -> dict[str, str]:
    listed = client.beta.memory_stores.memories.list(store_id, view="full")
    return {item.path: item.content or "" async for item in listed if item.type == "memory"}


async def until(client: AsyncAnthropic, store_id: str, wanted: dict[str, str]) -> None:
    """Return when the store says this: it is written a moment after the session is idle."""
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(DEADLINE_S):
            while found != wanted:
                await asyncio.sleep(0.02)
                found = await contents(client, store_id)
    except TimeoutError:
        raise AssertionError(f"the store says {found}") from None


async def test_an_agent_reads_and_writes_its_memory(client: AsyncAnthropic, model: ModelControl) -> None:
    store_id, folder = await store_with(client, kept="one", changed="two", gone="three")
    played = await Played.create(client, resources=[attached(store_id, instructions="Read notes first.")])
    (resource,) = (await played.retrieve()).resources
    assert resource.to_dict() == {
        "type": "memory_store",
        "memory_store_id": store_id,
        "access": "read_write",
        "instructions": "Read notes first.",
        "name": folder.removeprefix("/mnt/memory/"),
        "description": "What we know.",
        "mount_path": folder,
    }
    command = (
        f"cd {folder}/notes; cat kept.md changed.md gone.md; echo -n more >> changed.md; rm gone.md; echo -n x > new"
    )
    assert await said(played, command) == "onetwothree"
    await until(client, store_id, {"/notes/kept.md": "one", "/notes/changed.md": "twomore", "/notes/new": "x"})
    versions = [item async for item in client.beta.memory_stores.memory_versions.list(store_id, session_id=played.id)]
    assert sorted(version.operation for version in versions) == ["created", "deleted", "modified"]
    assert {version.created_by.type for version in versions if version.created_by} == {"session_actor"}
    (request, *_) = await model.requests(folder)
    assert f"is the folder {folder}. It can be read and written." in str(request)
    assert "Instructions: Read notes first." in str(request)


async def test_the_next_turn_sees_what_others_wrote_and_the_store_wins(client: AsyncAnthropic) -> None:
    store_id, folder = await store_with(client, shared="one")
    memories = client.beta.memory_stores.memories
    played = await Played.create(client, resources=[attached(store_id)])
    assert await said(played, f"cat {folder}/notes/shared.md") == "one"
    (item,) = [item async for item in memories.list(store_id) if item.type == "memory"]
    await memories.update(item.id, memory_store_id=store_id, content="two")
    await memories.create(store_id, path="/notes/added.md", content="three")
    assert await said(played, f"cat {folder}/notes/shared.md {folder}/notes/added.md") == "twothree"
    other = await Played.create(client, resources=[attached(store_id)])
    assert await said(other, f"cat {folder}/notes/shared.md") == "two"


async def test_read_only_memory_cannot_be_written(client: AsyncAnthropic) -> None:
    store_id, folder = await store_with(client, fixed="one")
    played = await Played.create(client, resources=[attached(store_id, access="read_only")])
    said_so = await said(played, f"cat {folder}/notes/fixed.md; echo x > {folder}/notes/fixed.md")
    assert said_so.startswith("one")
    assert "Read-only file system" in said_so
    assert await contents(client, store_id) == {"/notes/fixed.md": "one"}


async def test_stores_that_cannot_be_attached_and_the_filter_of_the_list(client: AsyncAnthropic) -> None:
    store_id, _ = await store_with(client)
    played = await Played.create(client, resources=[attached(store_id)])
    found = [session.id async for session in client.beta.sessions.list(memory_store_id=store_id)]
    assert found == [played.id]
    with pytest.raises(BadRequestError, match="duplicate entry for memory store"):
        await Played.create(client, resources=[attached(store_id), attached(store_id)])
    with pytest.raises(NotFoundError, match=r"Memory store \w+ not found"):
        await Played.create(client, resources=[attached("memstore_aaaaaaaaaaaaaaaaaaaaaaaa")])
    with pytest.raises(BadRequestError, match="instructions: must be at most 4096 characters"):
        await Played.create(client, resources=[attached(store_id, instructions="x" * 4_097)])
    await client.beta.memory_stores.archive(store_id)
    with pytest.raises(BadRequestError, match="is archived"):
        await Played.create(client, resources=[attached(store_id)])
    with pytest.raises(BadRequestError, match="at most 8 memory_store resources"):
        await Played.create(client, resources=[attached(f"memstore_{'a' * 23}{n}") for n in "bcdefghij"])
