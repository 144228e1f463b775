"""The built-in tools as a turn uses them, in the session's own sandbox."""

from typing import Any

from anthropic import AsyncAnthropic

from tests.support.playing import Played, bash, of_type, scripted, text_of


async def results(played: Played, *steps: dict[str, Any]) -> list[Any]:
    """The results of calls made one after the other in one turn."""
    seen = await played.until_idle(scripted(*steps, {"text": "done"}))
    assert seen[-1].stop_reason.type == "end_turn"
    await played.events()
    return of_type(seen, "agent.tool_result")


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    """A step that calls a tool."""
    return {"tool": name, "input": arguments}


async def test_files_are_written_read_edited_and_found(client: AsyncAnthropic) -> None:
    found = await results(
        await Played.create(client),
        tool("write", file_path="/workspace/notes/a.md", content="one\ntwo\nthree\n"),
        tool("read", file_path="/workspace/notes/a.md", view_range=[2, 2]),
        tool("edit", file_path="/workspace/notes/a.md", old_string="two", new_string="2"),
        tool("glob", pattern="*.md"),
        tool("grep", pattern="^2$"),
        bash("cat notes/a.md"),
    )
    assert [result.is_error for result in found] == [False] * 6
    assert "two" in text_of(found[1])
    assert "one" not in text_of(found[1])
    assert text_of(found[3]).strip() == "notes/a.md"
    assert "notes/a.md" in text_of(found[4])
    assert text_of(found[5]).strip() == "one\n2\nthree"


async def test_the_shell_keeps_its_state_between_calls_and_turns(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await results(played, bash("cd /tmp; export COLOUR=red"))
    (shown,) = await results(played, bash("pwd; echo $COLOUR"))
    assert text_of(shown).split() == ["/tmp", "red"]
    restarted, after = await results(played, tool("bash", restart=True), bash("pwd; echo [$COLOUR]"))
    assert not restarted.is_error
    assert text_of(after).split() == ["/workspace", "[]"]


async def test_a_failing_command_is_an_error_with_its_output(client: AsyncAnthropic) -> None:
    (failed,) = await results(await Played.create(client), bash("echo said; false"))
    assert failed.is_error
    assert "said" in text_of(failed)


async def test_a_call_with_wrong_input_is_an_error_that_says_so(client: AsyncAnthropic) -> None:
    missing, wrong = await results(
        await Played.create(client), tool("read"), tool("edit", file_path=3, old_string="a", new_string="b")
    )
    assert missing.is_error
    assert "file_path" in text_of(missing)
    assert wrong.is_error


async def test_each_session_has_a_sandbox_of_its_own(client: AsyncAnthropic) -> None:
    one, two = await Played.create(client), await Played.create(client)
    await results(one, bash("echo secret > /workspace/mine; echo x > /tmp/mine; sleep 100 &"))
    (listed,) = await results(two, bash("ls /workspace /tmp; ps ax 2>/dev/null | grep -c '[s]leep 100'; true"))
    assert "mine" not in text_of(listed)
    assert text_of(listed).split()[-1] in ("0", "/tmp:")


async def test_a_sandbox_has_no_network_and_no_secrets(client: AsyncAnthropic) -> None:
    network, secrets = await results(
        await Played.create(client),
        bash("cat /proc/net/dev | tail -n +3 | grep -vc ' lo:'; true"),
        bash("env; cat /proc/1/environ 2>/dev/null; true"),
    )
    assert text_of(network).split()[0] == "0"
    for word in ("ANTHROPIC", "EFFERENT", "NATS", "sk-ant", "test-provider-key"):
        assert word not in text_of(secrets)


async def test_a_command_that_takes_too_long_is_stopped(client: AsyncAnthropic) -> None:
    slow, after = await results(
        await Played.create(client), tool("bash", command="sleep 60", timeout_ms=300), bash("echo alive")
    )
    assert slow.is_error
    assert text_of(after).split()[-1] == "alive"
