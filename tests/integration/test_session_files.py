"""Files, skills and outputs of whole sessions: what was attached can be read by the tools, what they make is kept."""

import asyncio
import io
import json
from typing import Any

from anthropic import AsyncAnthropic

from tests.support.model_control import ModelControl
from tests.support.playing import DEADLINE_S, Played, bash, fresh_name, of_type, script, scripted, text_of, toolset

REPOSITORY = {"type": "github_repository", "url": "https://github.com/acme/tools"}


async def upload(client: AsyncAnthropic, text: str, name: str = "data.csv") -> str:
    return (await client.beta.files.upload(file=(name, io.BytesIO(text.encode())))).id


async def said(played: Played, command: str) -> str:
    """What a command printed."""
    seen = await played.until_idle(scripted(bash(command), {"text": "done"}))
    (result,) = of_type(seen, "agent.tool_result")
    return text_of(result)


async def outputs(client: AsyncAnthropic, session_id: str, count: int) -> list[Any]:
    """The session's downloadable files, once there are so many: they come a moment after the session is idle."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = [file async for file in client.beta.files.list(scope_id=session_id) if file.downloadable]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_a_session_reads_its_files_and_those_that_come_later(client: AsyncAnthropic) -> None:
    file: Any = {"type": "file", "file_id": await upload(client, "one"), "mount_path": "/in/first.txt"}
    played = await Played.create(client, resources=[file])
    assert await said(played, "cat /mnt/session/uploads/in/first.txt") == "one"
    assert "Read-only file system" in await said(played, "rm /mnt/session/uploads/in/first.txt")
    resources = client.beta.sessions.resources
    second = await upload(client, "two")
    await resources.add(played.id, type="file", file_id=second, mount_path="second.txt")
    assert await said(played, "cd /mnt/session/uploads; cat in/first.txt second.txt") == "onetwo"
    held = (await played.retrieve()).resources
    await resources.delete(held[0].id, session_id=played.id)
    assert (await said(played, "cd /mnt/session/uploads; find . -type f")).split() == ["./second.txt"]


async def test_what_an_agent_puts_into_outputs_can_be_downloaded(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await said(played, "mkdir -p /mnt/session/outputs/deep; echo -n first > /mnt/session/outputs/deep/report.md")
    (report,) = await outputs(client, played.id, 1)
    assert (report.filename, report.mime_type, report.size_bytes) == ("report.md", "text/markdown", 5)
    assert (report.scope.type, report.scope.id) == ("session", played.id)
    assert await (await client.beta.files.download(report.id)).read() == b"first"
    await said(played, "echo -n second > /mnt/session/outputs/deep/report.md; echo -n x > /mnt/session/outputs/new")
    found = await outputs(client, played.id, 3)
    assert sorted(file.filename for file in found) == ["new", "report.md", "report.md"]
    newest = next(file for file in found if file.filename == "report.md")
    assert await (await client.beta.files.download(newest.id)).read() == b"second"
    await said(played, "ls /mnt/session/outputs")
    assert len(await outputs(client, played.id, 3)) == 3
    await client.beta.sessions.delete(played.id)
    assert [file async for file in client.beta.files.list(scope_id=played.id)] == []


async def test_outputs_are_kept_whatever_they_are_called(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await said(played, "cd /mnt/session/outputs; echo -n x > 'at 12:30?.txt'; echo -n y > $'new\\nline'; mkfifo pipe")
    found = await outputs(client, played.id, 2)
    assert sorted(file.filename for file in found) == ["at 12_30_.txt", "new_line"]


async def test_skills_are_in_the_sandbox_and_the_model_is_told(client: AsyncAnthropic, model: ModelControl) -> None:
    name = fresh_name("skill")
    text = f"---\nname: {name}\ndescription: Fills forms.\n---\nRun scripts/run.sh\n"
    files = [(f"{name}/SKILL.md", text.encode()), (f"{name}/scripts/run.sh", b"echo ran\n")]
    skill = await client.beta.skills.create(files=files)
    agent = {"skills": [{"type": "custom", "skill_id": skill.id}], "system": "Be kind."}
    played = await Played.create(client, agent=agent)
    folder = f"/workspace/skills/{name}"
    assert await said(played, f"cat {folder}/SKILL.md; sh {folder}/scripts/run.sh") == f"{text}ran"
    requests = await model.requests(name)
    system = json.dumps(requests[-1])
    assert "Be kind." in system
    assert f"{name} ({folder}): Fills forms." in system


async def test_a_repository_that_cannot_be_fetched_is_reported_once_and_the_session_goes_on(
    client: AsyncAnthropic,
) -> None:
    played = await Played.create(client, resources=[REPOSITORY])
    seen = await played.until_idle(scripted({"text": "hello"}))
    (problem,) = of_type(seen, "session.error")
    assert problem.error.type == "repository_clone_error"
    assert problem.error.repository_url == REPOSITORY["url"]
    assert problem.error.retry_status.type == "retrying"
    assert seen[-1].stop_reason.type == "end_turn"
    assert of_type(await played.until_idle(scripted({"text": "again"})), "session.error") == []


async def asked(model: ModelControl, contains: str) -> list[Any]:
    """The content of the newest question to the model."""
    request = (await model.requests(contains))[-1]
    content: list[Any] = next(turn for turn in reversed(request["body"]["messages"]) if turn["role"] == "user")[
        "content"
    ]
    for block in content:
        block.pop("cache_control", None)
    return content


async def test_the_model_sees_the_files_that_messages_name(client: AsyncAnthropic, model: ModelControl) -> None:
    def block(type: str, file_id: str, **more: str) -> dict[str, Any]:
        return {"type": type, "source": {"type": "file", "file_id": file_id}, **more}

    text = await upload(client, "1,2", "table.csv")
    pdf = await upload(client, "%PDF-", "paper.pdf")
    image = await upload(client, "pixels", "photo.png")
    word = fresh_name("look")
    played = await Played.create(client)
    sent = scripted({"text": "seen"}, say=word)
    sent["content"][:0] = [
        block("document", text, context="Sales."),
        block("document", pdf, title="The paper"),
        block("image", image),
    ]
    seen = await played.until_idle(sent)
    (message,) = of_type(seen, "user.message")
    assert [part.source.file_id for part in message.content[:3]] == [text, pdf, image]
    assert (await asked(model, word))[:3] == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "1,2"},
            "title": "table.csv",
            "context": "Sales.",
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "The paper",
        },
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cGl4ZWxz"}},
    ]
    await client.beta.files.delete(image)
    other = fresh_name("again")
    await played.until_idle(scripted({"text": "not seen"}, say=other))
    history = json.dumps((await model.requests(other))[-1]["body"]["messages"])
    assert f"[the image {image} is not shown: it was deleted, or the files are too much]" in history
    assert "cGl4ZWxz" not in history
    assert "JVBERi0=" in history


async def test_agents_without_sandbox_tools_keep_nothing(client: AsyncAnthropic) -> None:
    played = await Played.create(client, tools=[toolset(configs=[{"name": "bash", "enabled": False}])])
    await played.until_idle(scripted({"text": script({"text": "x"})}))
    assert [file async for file in client.beta.files.list(scope_id=played.id)] == []
