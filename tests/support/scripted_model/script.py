"""What the scripted model answers, decided by the history alone, so that a repeated request gets the same answer.

The last line ``script: [...]`` of a user's message holds one step per model request of the turn; the step is the number
of the assistant's messages since that message. Without it the answer is ``You said: <text>``. A step is an object of:

==================  ===================================================================================================
``text``            what is answered
``thinking``        thinking before it, with a signature; ``redacted`` for redacted thinking
``tool``, ``input`` one tool call; ``tools: [{"tool", "input"}]`` several
``usage``           token counts to report
``stop``            stop reason to report; ``refusal: {"category", "explanation"}`` for the details of a refusal
``gate``            name of a gate to wait at before the first byte, or with ``gate_after: n`` after n pieces of text
``error``           ``{"status", "type", "message", "retry_after", "headers", "times"}``: answer with an error, the
                    first ``times`` requests only (default: always), then with the rest of the step
``stream_error``    ``{"type", "message"}``: an error inside the stream, after the text
``nonsense``        ``bad_json``, ``unknown_events``, ``no_stop``, ``after_stop``, ``tool_input``, ``silence``,
                    ``long_line``, ``endless``, ``html``, ``empty``, ``linger`` or ``disconnect``
==================  ===================================================================================================
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

MARK: Final = "script:"
SCRIPT_ENDED: Final = "The script has no more steps."


@dataclass(frozen=True, slots=True)
class Question:
    """What the newest message asks, and which request of its turn this is."""

    text: str
    step: int


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An HTTP error."""

    status: int
    type: str
    message: str
    retry_after: str | None
    headers: dict[str, str]
    times: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One answer."""

    text: str = ""
    thinking: str | None = None
    redacted: str | None = None
    tools: tuple[tuple[str, Any], ...] = ()
    usage: dict[str, int] = field(default_factory=dict)
    stop: str | None = None
    refusal: dict[str, Any] | None = None
    gate: str | None = None
    gate_after: int = 0
    error: ErrorAnswer | None = None
    stream_error: dict[str, str] | None = None
    nonsense: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the whole answer can be sent at once."""
        return self.gate is None and self.nonsense is None and self.error is None

    def pieces(self) -> list[str]:
        """The text as the deltas that it is sent in: words, at most sixteen pieces."""
        words = self.text.split(" ")
        size = max(1, -(-len(words) // 16))
        groups = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
        return [group + " " for group in groups[:-1]] + groups[-1:] if self.text else []


def step_for(question: Question, rules: list[tuple[str, list[dict[str, Any]]]]) -> Step:
    """The step that answers a question. Raises ValueError for a script that cannot be read."""
    steps = _script_in(question.text)
    if steps is None:
        steps = next((script for part, script in rules if part in question.text), None)
    if steps is None:
        return Step(text=f"You said: {question.text}")
    if question.step >= len(steps):
        return Step(text=SCRIPT_ENDED)
    return _parse(steps[question.step])


def _script_in(text: str) -> list[dict[str, Any]] | None:
    if MARK not in text:
        return None
    for line in reversed(text.splitlines()):
        if line.lstrip().startswith(MARK):
            steps = orjson.loads(line.lstrip()[len(MARK) :])
            return steps if isinstance(steps, list) else [steps]
    return None


def _parse(step: dict[str, Any]) -> Step:
    known = {
        "text", "thinking", "redacted", "tool", "input", "tools", "usage", "stop", "refusal", "gate", "gate_after",
        "error", "stream_error", "nonsense",
    }  # fmt: skip
    if unknown := step.keys() - known:
        raise ValueError(f"the step has unknown keys: {sorted(unknown)}")
    calls = step.get("tools") or ([{"tool": step["tool"], "input": step.get("input", {})}] if "tool" in step else [])
    return Step(
        text=step.get("text", ""),
        thinking=step.get("thinking"),
        redacted=step.get("redacted"),
        tools=tuple((call["tool"], call.get("input", {})) for call in calls),
        usage=step.get("usage", {}),
        stop=step.get("stop"),
        refusal=step.get("refusal"),
        gate=step.get("gate"),
        gate_after=step.get("gate_after", 0),
        error=_parse_error(step["error"]) if "error" in step else None,
        stream_error=step.get("stream_error"),
        nonsense=step.get("nonsense"),
    )


def _parse_error(error: dict[str, Any]) -> ErrorAnswer:
    return ErrorAnswer(
        status=error.get("status", 500),
        type=error.get("type", "api_error"),
        message=error.get("message", "scripted"),
        retry_after=str(error["retry_after"]) if "retry_after" in error else None,
        headers=error.get("headers", {}),
        times=error.get("times"),
    )
