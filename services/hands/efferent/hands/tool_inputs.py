"""What a model sent as a tool's input, checked: an input that is wrong becomes words that the model can learn from."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from efferent.hands.tools.requests import Edit, FileRequest, Glob, Grep, Read, Write

COMMAND_CHARACTERS_MAX: Final = 1_000_000


class Bash(BaseModel):
    """Run a command in the session's shell, or start the shell again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    command: Annotated[str, Field(max_length=COMMAND_CHARACTERS_MAX)] | None = None
    restart: bool | None = None
    timeout_ms: Annotated[int, Field(ge=0)] | None = None


ToolInput = Bash | FileRequest

_SHAPES: Final[dict[str, TypeAdapter[Any]]] = {
    "bash": TypeAdapter(Bash),
    "read": TypeAdapter(Read),
    "write": TypeAdapter(Write),
    "edit": TypeAdapter(Edit),
    "glob": TypeAdapter(Glob),
    "grep": TypeAdapter(Grep),
}


class InvalidInput(Exception):
    """The call cannot be run; the message tells the model why."""


def parse(tool: str, input_json: str) -> ToolInput:
    """Read a tool's input. Raises InvalidInput."""
    if (shape := _SHAPES.get(tool)) is None:
        raise InvalidInput(f"there is no tool {tool!r}")
    try:
        asked: ToolInput = shape.validate_json(input_json)
    except ValidationError as error:
        problems = "; ".join(f"{_where(problem['loc'])}{problem['msg']}" for problem in error.errors())
        raise InvalidInput(f"invalid input of {tool}: {problems}") from error
    if isinstance(asked, Bash):
        _check_bash(asked)
    return asked


def _where(path: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""


def _check_bash(asked: Bash) -> None:
    if not asked.command and not asked.restart:
        raise InvalidInput("command is required, unless restart is true")
    if asked.command is not None and "\0" in asked.command:
        raise InvalidInput("command must not hold a null character")
