"""How a neutral history becomes turns that a provider takes: assistant and input strictly in alternation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Message, Part, ToolResult


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring messages that are one turn: all of the assistant, or all of users, tools and the system."""

    is_assistant: bool
    start: int
    """Index of its first message."""
    messages: tuple[Message, ...]


def runs(messages: Sequence[Message], start: int, is_visible: Callable[[Part], bool]) -> list[Run]:
    """Split the messages from an index on into turns; a message without any visible part is passed over."""
    found: list[Run] = []
    collected: list[Message] = []
    first, is_assistant = start, False
    for index in range(start, len(messages)):
        message = messages[index]
        if not any(map(is_visible, message.parts)):
            continue
        if collected and is_assistant != (message.role == "assistant"):
            found.append(Run(is_assistant, first, tuple(collected)))
            collected = []
        if not collected:
            first, is_assistant = index, message.role == "assistant"
        collected.append(message)
    if collected:
        found.append(Run(is_assistant, first, tuple(collected)))
    return found


def input_parts(run: Run) -> tuple[list[ToolResult], list[Part], list[str]]:
    """The parts of an input turn: tool results, which must come first; other parts; texts of the system."""
    results: list[ToolResult] = []
    others: list[Part] = []
    system: list[str] = []
    for message in run.messages:
        for part in message.parts:
            if message.role == "system":
                if isinstance(part, TextBlock):
                    system.append(part.text)
            elif isinstance(part, ToolResult):
                results.append(part)
            else:
                others.append(part)
    return results, others, system


def marked_system_text(text: str) -> str:
    """Text of the system where the model has no role for it."""
    return f"<system-message>\n{text}\n</system-message>"
