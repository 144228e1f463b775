"""Events that name files: each is looked up before the event is taken in, and the event keeps the name."""

import io
from pathlib import Path
from typing import Any

import pytest

from efferent.common.domain.events import AgentCustomToolUse, SessionStatusIdle
from efferent.common.domain.events.stop import RequiresAction
from efferent.common.domain.file_sources import IMAGE_BYTES_MAX, SOURCES_MAX
from services.gateway.tests.session_api import Answer, Api, api

UNKNOWN = "file_aaaaaaaaaaaaaaaaaaaaaaaa"


def block(file_id: str, type: str = "document") -> dict[str, Any]:
    return {"type": type, "source": {"type": "file", "file_id": file_id}}


def said(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "user.message", "content": list(content)}


async def upload(made: Api, name: str, content: bytes = b"x") -> str:
    return (await made.client.beta.files.upload(file=(name, io.BytesIO(content)))).id


async def post(made: Api, session_id: str, *events: dict[str, Any], key: str | None = None) -> Answer:
    return await made.call("POST", f"/v1/sessions/{session_id}/events", {"events": list(events)}, key=key)


async def test_messages_keep_the_names_of_their_files(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        text, image, pdf = [await upload(made, name) for name in ("a.md", "b.png", "c.pdf")]
        event = said(block(text), block(image, "image"), {**block(pdf), "title": "T", "context": "C"})
        sent = await post(made, session["id"], event)
        assert sent.status == 200, sent.body
        (echo,) = sent.body["data"]
        assert [item["source"] for item in echo["content"]] == [
            {"type": "file", "file_id": file_id} for file_id in (text, image, pdf)
        ]
        begun = await made.session(initial_events=[event])
        listed = await made.call("GET", f"/v1/sessions/{begun['id']}/events")
        assert listed.body["data"][0]["content"] == echo["content"]


async def test_a_file_that_cannot_be_shown_refuses_the_request(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        text, archive, image = [await upload(made, name) for name in ("a.md", "b.zip", "c.png")]
        large = await upload(made, "d.png", bytes(IMAGE_BYTES_MAX + 1))
        fine = said(block(text))
        refused: list[tuple[dict[str, Any], int, str]] = [
            (block("nonsense"), 400, "file_id: Invalid file ID."),
            (block(UNKNOWN), 404, "file_id: File not found."),
            (block(archive), 400, f"file_id: File {archive} is application/zip; a document is application/pdf or text"),
            (block(image), 400, f"file_id: File {image} is image/png; a document is application/pdf or text"),
            (block(text, "image"), 400, f"file_id: File {text} is text/markdown; an image is one of image/jpeg"),
            (block(large, "image"), 400, f"file_id: File {large} has {IMAGE_BYTES_MAX + 1} bytes; it must have"),
        ]
        for content, status, message in refused:
            answer = await post(made, session["id"], fine, said(block(text), content))
            assert (answer.status, answer.message.partition(".source.")[0]) == (status, "events[1].content[1]")
            assert message in answer.message
        listed = await made.call("GET", f"/v1/sessions/{session['id']}/events")
        assert listed.body["data"] == [], "none of a refused request's events is taken in"
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        answer = await made.call("POST", "/v1/sessions", {**body, "initial_events": [said(block(UNKNOWN))]})
        assert (answer.status, answer.body["error"]["type"]) == (404, "not_found_error")
        assert answer.message == "initial_events[0].content[0].source.file_id: File not found."


async def test_a_file_of_another_workspace_is_not_found(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session, file_id = await made.session(), await upload(made, "a.md")
        other = await made.client.with_options(api_key=made.other_key).beta.files.upload(file=("b.md", b"x"))
        assert (await post(made, session["id"], said(block(other.id)))).status == 404
        assert (await post(made, session["id"], said(block(file_id)))).status == 200


async def test_only_so_many_files_may_be_named_at_once(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session, file_id = await made.session(), await upload(made, "a.md")
        answer = await post(made, session["id"], said(*(block(f"file_{n:024}") for n in range(SOURCES_MAX + 1))))
        assert (answer.status, answer.message) == (400, f"events: at most {SOURCES_MAX} different files are allowed")
        assert (await post(made, session["id"], said(*[block(file_id)] * (SOURCES_MAX + 1)))).status == 200


async def test_the_result_of_a_custom_tool_may_name_a_file(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        tool = {"type": "custom", "name": "look_up", "description": "d", "input_schema": {"type": "object"}}
        session = await made.session(agent=await made.agent(tools=[tool]))
        brain = made.brain(session["id"])
        await made.send(session["id"], "go")
        await brain.start_turn()
        (call,) = await brain.append(
            [lambda id, at: AgentCustomToolUse(id=id, name="look_up", input={}, processed_at=at)]
        )
        reason = RequiresAction(event_ids=(call,))
        await brain.append([lambda id, at: SessionStatusIdle(id=id, stop_reason=reason, processed_at=at)])
        result = {"type": "user.custom_tool_result", "custom_tool_use_id": call}
        missing = await post(made, session["id"], {**result, "content": [block(UNKNOWN, "image")]})
        assert (missing.status, missing.message) == (404, "events[0].content[0].source.file_id: File not found.")
        taken = await post(made, session["id"], {**result, "content": [block(await upload(made, "a.gif"), "image")]})
        assert taken.status == 200, taken.body


@pytest.mark.parametrize("is_update", [False, True])
async def test_the_events_of_a_deployment_name_files_that_are_there(tmp_path: Path, is_update: bool) -> None:
    async with api(tmp_path) as made:
        body = {"name": "n", "agent": await made.agent(), "environment_id": await made.environment()}
        good = {**body, "initial_events": [said(block(await upload(made, "a.md")))]}
        made_one = await made.call("POST", "/v1/deployments", good)
        assert made_one.status == 200, made_one.body
        path = f"/v1/deployments/{made_one.body['id']}" if is_update else "/v1/deployments"
        fields = {} if is_update else body
        answer = await made.call("POST", path, {**fields, "initial_events": [said(block(UNKNOWN))]})
        assert (answer.status, answer.message) == (404, "initial_events[0].content[0].source.file_id: File not found.")
