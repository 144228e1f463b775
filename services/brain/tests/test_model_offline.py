"""The offline models: deterministic answers without a key, and the tools that a message marks."""

from efferent.brain.adapters.offline_model import CALLS_MAX, ECHO_CHARS_MAX, OfflineModel
from efferent.brain.ports import TextDelta, ToolCallDraft, ToolDefinition
from efferent.common.domain.content import TextBlock
from tests.support.scripted_model.asking import BASH, ask, assistant, call, collect, result, system, user

WRITE = ToolDefinition("write", "Write a file.", {"type": "object"})
MODEL = "offline/echo"


async def test_text_is_echoed_word_by_word() -> None:
    chunks, reply = await collect(OfflineModel().stream(ask(user("hello big world"), model=MODEL)))
    assert chunks == [TextDelta(0, word) for word in ("You ", "said: ", "hello ", "big ", "world")]
    assert reply.parts == (TextBlock(text="You said: hello big world"),)
    assert reply.stop == "end_turn"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 5)


async def test_same_history_gets_the_same_answer() -> None:
    request = ask(user("first"), assistant("You said: first"), user("$ ls"), model=MODEL, tools=[BASH])
    answers = [await collect(OfflineModel().stream(request)) for _ in range(2)]
    assert answers[0] == answers[1]


async def test_marked_lines_are_run_in_one_call() -> None:
    message = user("Please:\n```sh\n$ echo hi > a.txt\n$ cat a.txt\n```")
    _, reply = await collect(OfflineModel().stream(ask(message, model=MODEL, tools=[BASH])))
    assert reply.parts[1:] == (ToolCallDraft("bash", {"command": "echo hi > a.txt\ncat a.txt"}),)
    assert reply.stop == "tool_use"


async def test_result_is_told_and_failure_too() -> None:
    history = user("$ ls"), assistant(call("sevt_1", command="ls")), user(result("sevt_1", "a.txt\n"))
    _, reply = await collect(OfflineModel().stream(ask(*history, model=MODEL, tools=[BASH])))
    assert reply.parts == (TextBlock(text="The tool answered:\na.txt"),)
    failed = (*history[:2], user(result("sevt_1", "no such file", is_error=True)))
    _, reply = await collect(OfflineModel().stream(ask(*failed, model=MODEL, tools=[BASH])))
    assert reply.parts == (TextBlock(text="The tool failed:\nno such file"),)


async def test_message_steered_in_is_answered_next() -> None:
    history = user("$ ls"), assistant(call("sevt_1")), user(result("sevt_1")), system("a note"), user("and hello")
    _, reply = await collect(OfflineModel().stream(ask(*history, model=MODEL, tools=[BASH])))
    assert reply.parts == (TextBlock(text="You said: and hello"),)


async def test_file_is_written_with_the_write_tool() -> None:
    _, reply = await collect(
        OfflineModel().stream(ask(user("write notes/a.md: # Hi: there"), model=MODEL, tools=[BASH, WRITE]))
    )
    assert reply.parts[1:] == (ToolCallDraft("write", {"file_path": "notes/a.md", "content": "# Hi: there\n"}),)


async def test_tool_that_is_not_offered_is_not_called() -> None:
    _, reply = await collect(OfflineModel().stream(ask(user("$ ls\nwrite a: b"), model=MODEL)))
    assert reply.parts == (TextBlock(text="You said: $ ls\nwrite a: b"),)


async def test_echo_and_calls_have_limits() -> None:
    _, reply = await collect(OfflineModel().stream(ask(user("x" * 100_000), model=MODEL)))
    (part,) = reply.parts
    assert isinstance(part, TextBlock)
    assert len(part.text) < ECHO_CHARS_MAX + 50
    writes = "\n".join(f"write f{index}: x" for index in range(100))
    _, reply = await collect(OfflineModel().stream(ask(user(writes), model=MODEL, tools=[WRITE])))
    assert len(reply.parts) == CALLS_MAX + 1
