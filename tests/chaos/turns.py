"""What the sessions of a storm are asked: scripts with gates, tools that leave marks, answers for what waits."""

import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.support.playing import bash, custom_tool, message, script, toolset

Style = Literal["allowed", "asked", "custom"]
STYLES: Final[tuple[Style, ...]] = ("allowed", "asked", "custom")
MARKS_FILE: Final = "/workspace/marks"
GATES_MAX: Final = 24
_TOOL_S: Final = (0.0, 0.6)


def tools_of(style: Style) -> list[dict[str, Any]]:
    """The tools of a session of this style."""
    match style:
        case "allowed":
            return [toolset()]
        case "asked":
            return [toolset("always_ask")]
        case "custom":
            return [toolset(), custom_tool()]


def mark_of(use: dict[str, Any]) -> str | None:
    """The mark that a call leaves in the sandbox; None for a call that leaves none."""
    command = str(use["input"].get("command", ""))
    return command.split()[1] if command.startswith("echo mark-") else None


@dataclass
class Turns:
    """Makes a session's messages; each has words, gates and marks of its own."""

    name: str
    style: Style
    dice: random.Random
    gates: deque[str] = field(default_factory=lambda: deque(maxlen=GATES_MAX))
    """Gates that were not opened yet: those of the newest messages, for a send without an answer may come late."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def message(self) -> dict[str, Any]:
        """The next turn: one to three rounds of tools, then a text."""
        steps = [self._gated(self._call(round_)) for round_ in range(self.dice.randint(1, 3))]
        steps.append(self._gated({"text": "all is done now"}))
        return message(script(*steps, say=self._fresh("turn")))

    def steering(self) -> dict[str, Any]:
        """Something to say while a turn is going on."""
        return message(script({"text": "and that too"}, say=self._fresh("steer")))

    def reading(self) -> dict[str, Any]:
        """The last turn: read the marks."""
        return message(script(bash(f"cat {MARKS_FILE} 2>/dev/null; true"), {"text": "read"}, say=self._fresh("read")))

    def answer_to(self, use: dict[str, Any]) -> dict[str, Any]:
        """An answer to a call that waits for the client."""
        if use["type"] == "agent.custom_tool_use":
            content = [{"type": "text", "text": f"found {use['id']}"}]
            return {"type": "user.custom_tool_result", "custom_tool_use_id": use["id"], "content": content}
        if mark_of(use) is None or self.dice.random() < 0.8:
            return {"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "allow"}
        return {"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "deny", "deny_message": "no"}

    def _call(self, round_: int) -> dict[str, Any]:
        if self.style == "custom" and round_ == 0:
            return {"tool": "look_up", "input": {"key": "a"}}
        if self.dice.random() < 0.3:
            return {"tools": [self._mark(), self._mark()]}
        return self._mark()

    def _mark(self) -> dict[str, Any]:
        seconds = self.dice.uniform(*_TOOL_S)
        return bash(f"echo {self._fresh('mark')} >> {MARKS_FILE}; sleep {seconds:.2f}")

    def _gated(self, step: dict[str, Any]) -> dict[str, Any]:
        gate = self._fresh("gate")
        self.gates.append(gate)
        after = {"gate_after": 1} if "text" in step and self.dice.random() < 0.5 else {}
        return {**step, "gate": gate, **after}

    def _fresh(self, what: str) -> str:
        return f"{what}-{self.name}-{next(self._numbers)}"
