"""A model that needs no key and no network: for trying the server out, and for tests.

It is a function of the history. Lines of the newest message that begin with ``$ `` are run with the bash tool, a line
``write <path>: <text>`` with the write tool; then it tells what came of it. Any other message is echoed.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Final
from weakref import WeakKeyDictionary

from efferent.brain.ports import ModelChunk, ModelReply, ModelRequest, ReplyPart, TextDelta, ToolCallDraft
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Message, ToolResult
from efferent.common.domain.usage import ModelUsage

ECHO_CHARS_MAX: Final = 4_000
RESULT_CHARS_MAX: Final = 2_000
CALLS_MAX: Final = 20


class OfflineModel:
    """The ``Model`` port for ``offline/*``."""

    def __init__(self) -> None:
        self._words: WeakKeyDictionary[Message, int] = WeakKeyDictionary()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Answer at once; see ``Model.stream``. Never fails."""
        results = _results_to_tell(request.messages)
        text = _newest_text(request.messages)
        calls = () if results else _calls(text, {tool.name for tool in request.tools})
        answer = _answer(text, calls, results)
        for word in _words_of(answer):
            yield TextDelta(0, word)
            await asyncio.sleep(0)  # other turns go on while a long answer is streamed
        parts: tuple[ReplyPart, ...] = (TextBlock(text=answer), *calls)
        output = _count(answer) + sum(_count(str(call.input)) for call in calls)
        usage = ModelUsage(input_tokens=self._input_words(request), output_tokens=output)
        yield ModelReply(parts, "tool_use" if calls else "end_turn", usage)

    async def close(self) -> None:
        """Nothing to close."""

    def _input_words(self, request: ModelRequest) -> int:
        """One word is about one token. Counted once per message: histories are long and grow at the end only."""
        total = _count(request.system)
        for message in request.messages:
            words = self._words.get(message)
            if words is None:
                words = self._words[message] = sum(map(_count, _texts(message)))
            total += words
        return total


def _calls(text: str, offered: set[str]) -> tuple[ToolCallDraft, ...]:
    """The calls that the message marks, for the tools that the model has been offered."""
    calls: list[ToolCallDraft] = []
    commands: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("$ "):
            commands.append(stripped[2:])
        elif stripped.startswith("write ") and ": " in stripped and "write" in offered:
            path, content = stripped[len("write ") :].split(": ", 1)
            calls.append(ToolCallDraft("write", {"file_path": path.strip(), "content": content + "\n"}))
    if commands and "bash" in offered:
        calls.append(ToolCallDraft("bash", {"command": "\n".join(commands)}))
    return tuple(calls[:CALLS_MAX])


def _answer(text: str, calls: tuple[ToolCallDraft, ...], results: list[ToolResult]) -> str:
    if results:
        return "\n".join(map(_told, results))
    if calls:
        return f"I will use {' and '.join(call.name for call in calls)}."
    if not text:
        return "You said nothing that I can read."
    return f"You said: {text}" if len(text) <= ECHO_CHARS_MAX else f"You said: {text[:ECHO_CHARS_MAX]} ..."


def _told(result: ToolResult) -> str:
    output = "\n".join(part.text for part in result.content if isinstance(part, TextBlock)).strip()
    if len(output) > RESULT_CHARS_MAX:
        output = f"{output[:RESULT_CHARS_MAX]} ..."
    verb = "failed" if result.is_error else "answered"
    return f"The tool {verb}:\n{output}" if output else f"The tool {verb} without output."


def _results_to_tell(messages: tuple[Message, ...]) -> list[ToolResult]:
    """Results at the end of the history that no newer text of a user follows."""
    found: list[ToolResult] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        if message.role == "user":
            if any(isinstance(part, TextBlock) for part in message.parts):
                return []
            found[:0] = [part for part in message.parts if isinstance(part, ToolResult)]
    return found


def _newest_text(messages: tuple[Message, ...]) -> str:
    """The texts of the user since the assistant last spoke."""
    texts: list[str] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        if message.role == "user":
            texts[:0] = [part.text for part in message.parts if isinstance(part, TextBlock)]
    return "\n".join(texts)


def _texts(message: Message) -> Iterable[str]:
    for part in message.parts:
        if isinstance(part, TextBlock):
            yield part.text
        elif isinstance(part, ToolResult):
            yield from (inner.text for inner in part.content if isinstance(inner, TextBlock))


def _words_of(text: str) -> list[str]:
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]


def _count(text: str) -> int:
    return len(text.split())
