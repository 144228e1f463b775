"""Sessions on self-hosted environments, served by the official workers: Python of both lines, and TypeScript."""

import asyncio
import base64
import io
import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic, AuthenticationError

from tests.support.efferent_server import EfferentServer
from tests.support.model_control import ModelControl
from tests.support.playing import (
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
from tests.support.raw_api import RawApi
from tests.support.secret_search import contents_below
from tests.support.self_hosting import DEADLINE_S, SelfHosted, answers, command_of, until

pytestmark = pytest.mark.timeout(300)  # the first run on a machine installs the other SDKs


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


def turn_ended(watch: Watch) -> bool:
    """Whether the last thing seen is the end of a turn."""
    last = watch.seen[-1]
    return bool(last.type == "session.status_idle" and last.stop_reason.type == "end_turn")


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
    async with hosted.program(await command_of("python"), tmp_path / "first") as first:
        await until(marks.exists)
        first.process.kill()
        await first.process.wait()
    taken = (await hosted.items_of(played.id))[0]
    assert taken["state"] == "active"
    # Its lease as if it had asked for a short one, so that nobody has to wait.
    last = urllib.parse.urlencode({"expected_last_heartbeat": taken["latest_heartbeat_at"], "desired_ttl_seconds": 2})
    assert (await hosted.work("POST", f"/{taken['id']}/heartbeat?{last}")).status == 200
    async with hosted.worker(tmp_path / "second"):
        stopped = await hosted.until_state(played.id, "stopped")
    assert stopped["id"] == taken["id"]
    assert len(marks.read_text().splitlines()) == 2
    assert [text for _, text, _ in await answers(played)] == ["survived"]


async def test_two_workers_never_serve_one_item(
    hosted: SelfHosted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marks, release = tmp_path / "marks", tmp_path / "release"
    call = bash(f"echo x >> {marks}; until [ -e {release} ]; do sleep 0.1; done")
    played = await hosted.session(initial_events=[scripted(call, {"text": "done"})])
    item = (await hosted.work("GET", "/poll")).json
    first = asyncio.create_task(hosted.serve(item, tmp_path / "a"))
    await until(marks.exists)
    await hosted.serve(item, tmp_path / "b")
    (told,) = [text for text in caplog.messages if "lease lost: heartbeat precondition failed" in text]
    assert "server_state=active" in told
    release.touch()
    await first
    assert len([text for text in caplog.messages if "lease lost" in text and "precondition" in text]) == 1
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
        async with asyncio.timeout(DEADLINE_S):
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
    found = [
        (path.name, number)
        for path, content in contents_below(server.log_file, server.data_dir)
        for number, secret in enumerate(secrets)
        if secret in content
    ]
    assert found == []
