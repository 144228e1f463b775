"""Dreams on the whole server: a session reads transcripts and writes a memory store, and each way to end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import EfferentServer
from tests.support.model_control import ModelControl
from tests.support.playing import MODEL, Played, bash, fresh_name, message, text_of

WITHIN_S = 75
"""A dream ends up to half a minute late where another session holds back the brains' acknowledgements."""
LIVE = ("pending", "running")


async def until[T](ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Ask the server until the answer is as wanted; the message of a timeout says what it was instead."""
    found: T | None = None
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = await ask()
                if wanted(found):
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still {found}") from None


async def ended(client: AsyncAnthropic, dream_id: str) -> Any:
    return await until(lambda: client.beta.dreams.retrieve(dream_id), lambda dream: dream.status not in LIVE)


async def running(client: AsyncAnthropic, dream_id: str) -> Any:
    """The dream once it says that it runs, which is a moment after its session began."""
    return await until(lambda: client.beta.dreams.retrieve(dream_id), lambda dream: dream.status == "running")


async def archived(client: AsyncAnthropic, session_id: str) -> Any:
    return await until(lambda: client.beta.sessions.retrieve(session_id), lambda it: it.archived_at is not None)


async def store_with(client: AsyncAnthropic, **memories: str) -> tuple[str, str]:
    name = fresh_name("store")
    store = await client.beta.memory_stores.create(name=name, description="What we know.")
    for path, content in memories.items():
        await client.beta.memory_stores.memories.create(store.id, path=f"/{path}.md", content=content)
    return store.id, name


async def contents(client: AsyncAnthropic, store_id: str) -> dict[str, str]:
    listed = client.beta.memory_stores.memories.list(store_id, view="full")
    return {item.path: item.content or "" async for item in listed if item.type == "memory"}


async def past_session(client: AsyncAnthropic, text: str) -> str:
    """A session in which something was said."""
    played = await Played.create(client)
    await played.until_idle(message(text))
    return played.id


def inputs(store_id: str, *session_ids: str) -> list[Any]:
    return [
        {"type": "memory_store", "memory_store_id": store_id},
        {"type": "sessions", "session_ids": list(session_ids)},
    ]


async def told(model: ModelControl, *steps: dict[str, Any]) -> str:
    """Instructions that make the scripted model do this, whatever the transcripts say."""
    words = f"Look after {fresh_name('this')}."
    await model.add_rule(words, *steps)
    return words


async def test_it_writes_a_new_store_and_leaves_the_old_one(client: AsyncAnthropic, model: ModelControl) -> None:
    store_id, name = await store_with(client, tea="green", dogs="two")
    session_id = await past_session(client, "I like black tea now.")
    folder = f"/mnt/memory/{name}-dream"
    write = bash(f"cat {folder}/tea.md && printf black > {folder}/tea.md && rm {folder}/dogs.md")
    dream = await client.beta.dreams.create(
        inputs=inputs(store_id, session_id),
        model=MODEL,
        instructions=await told(model, write, {"text": "Tea is black now."}),
    )
    assert (dream.status, dream.outputs, dream.session_id, dream.error) == ("pending", [], None, None)
    assert dream.output_behavior.type == "create_new"
    done = await ended(client, dream.id)
    assert (done.status, done.error) == ("completed", None)
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens > 0
    assert done.ended_at is not None
    (output,) = done.outputs
    assert output.memory_store_id != store_id
    assert await contents(client, output.memory_store_id) == {"/tea.md": "black"}
    assert await contents(client, store_id) == {"/tea.md": "green", "/dogs.md": "two"}
    session = await client.beta.sessions.retrieve(done.session_id)
    assert session.status == "terminated"
    assert session.archived_at is not None
    assert session.archived_at <= done.ended_at
    events = [event async for event in client.beta.sessions.events.list(done.session_id)]
    task = next(text_of(event) for event in events if event.type == "user.message")
    assert "user: I like black tea now." in task
    assert "agent: You said: I like black tea now." in task
    assert f'<transcript session="{session_id}">' in task


async def test_it_writes_into_the_store_that_it_reads_and_no_other_may_meanwhile(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    store_id, name = await store_with(client, tea="green")
    session_id = await past_session(client, "I like black tea now.")
    gate = fresh_name()
    behavior: Any = {"type": "update_existing", "memory_store_id": store_id}
    write = bash(f"printf black > /mnt/memory/{name}/tea.md")
    dream = await client.beta.dreams.create(
        inputs=inputs(store_id, session_id),
        model=MODEL,
        output_behavior=behavior,
        instructions=await told(model, write, {"text": "done", "gate": gate}),
    )
    await model.waiting(gate)
    await running(client, dream.id)
    with pytest.raises(anthropic.ConflictError):
        await client.beta.dreams.create(inputs=inputs(store_id, session_id), model=MODEL, output_behavior=behavior)
    with pytest.raises(anthropic.BadRequestError, match="cannot be archived while its status is running"):
        await client.beta.dreams.archive(dream.id)
    await model.open(gate)
    done = await ended(client, dream.id)
    assert done.status == "completed"
    assert [output.memory_store_id for output in done.outputs] == [store_id]
    assert await contents(client, store_id) == {"/tea.md": "black"}
    put_away = await client.beta.dreams.archive(dream.id)
    assert put_away.archived_at is not None
    assert await client.beta.dreams.archive(dream.id) == put_away
    with pytest.raises(anthropic.BadRequestError, match="its status is completed"):
        await client.beta.dreams.cancel(dream.id)


async def test_canceled_its_session_is_interrupted_and_archived(client: AsyncAnthropic, model: ModelControl) -> None:
    store_id, _ = await store_with(client, tea="green")
    session_id = await past_session(client, "Hello.")
    gate = fresh_name()
    dream = await client.beta.dreams.create(
        inputs=inputs(store_id, session_id), model=MODEL, instructions=await told(model, {"text": "late", "gate": gate})
    )
    await model.waiting(gate)
    await running(client, dream.id)
    canceled = await client.beta.dreams.cancel(dream.id)
    assert canceled.status == "canceled"
    assert canceled.ended_at is not None
    assert await client.beta.dreams.cancel(dream.id) == canceled
    found = await until(lambda: client.beta.dreams.retrieve(dream.id), lambda it: it.session_id is not None)
    assert found.session_id is not None
    session = await archived(client, found.session_id)
    assert session.status == "terminated"
    assert (await client.beta.dreams.retrieve(dream.id)).status == "canceled"


async def test_a_model_that_fails_fails_it(client: AsyncAnthropic, model: ModelControl) -> None:
    store_id, _ = await store_with(client, tea="green")
    session_id = await past_session(client, "Hello.")
    dream = await client.beta.dreams.create(
        inputs=inputs(store_id, session_id),
        model=MODEL,
        instructions=await told(model, {"error": {"status": 400, "type": "invalid_request_error", "message": "no"}}),
    )
    failed = await ended(client, dream.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.type == "internal_error"


async def test_killed_services_neither_lose_nor_double_it(
    client: AsyncAnthropic, model: ModelControl, server: EfferentServer
) -> None:
    store_id, name = await store_with(client, tea="green")
    session_id = await past_session(client, "I like black tea now.")
    gate = fresh_name()
    instructions = await told(
        model, bash(f"printf black >> /mnt/memory/{name}-dream/tea.md"), {"text": "done", "gate": gate}
    )
    dream = await client.beta.dreams.create(inputs=inputs(store_id, session_id), model=MODEL, instructions=instructions)
    server.kill("automation")
    await model.waiting(gate)
    server.kill("automation")
    server.kill("brain")
    await model.open(gate)
    done = await ended(client, dream.id)
    assert done.status == "completed"
    (output,) = done.outputs
    assert await contents(client, output.memory_store_id) == {"/tea.md": "greenblack"}
    stores = [found.name async for found in client.beta.memory_stores.list(limit=100)]
    assert stores.count(f"{name} (dream)") == 1
