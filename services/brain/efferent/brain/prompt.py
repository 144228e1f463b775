"""What a model is asked: system prompt, tools and messages, assembled from the folded state alone. Pure."""

from typing import Final

from efferent.brain.ports import ModelRequest, ToolDefinition
from efferent.brain.sandbox_notes import sandbox_notes
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Message
from efferent.common.domain.permissions import builtin_tools
from efferent.common.domain.resources.agent import CustomTool
from efferent.common.domain.state import SessionState
from efferent.common.domain.toolset import definition
from efferent.common.domain.transcript import Transcript

_SUMMARY_REQUEST: Final = (
    "The conversation is about to exceed your context window. Write a summary that will replace everything above: "
    "the user's goals and instructions, decisions and their reasons, the state of files and commands, results worth "
    "keeping word for word, and what remains to be done. Answer with the summary alone and call no tools."
)
_SUMMARY_FRAME: Final = (
    "The earlier part of this conversation was summarised to fit your context window. The summary:\n\n"
)


def assemble(state: SessionState, transcript: Transcript) -> ModelRequest:
    """The next model request of the session's primary thread."""
    return ModelRequest(
        model=state.agent.model,
        system=_system(state),
        tools=offered_tools(state),
        messages=transcript.messages,
    )


def assemble_summary(state: SessionState, transcript: Transcript) -> ModelRequest:
    """The request for a summary of the context so far. Tools stay declared, since the history holds calls of them."""
    ask = Message("user", (TextBlock(text=_SUMMARY_REQUEST),))
    return ModelRequest(
        model=state.agent.model,
        system=_system(state),
        tools=offered_tools(state),
        messages=(*transcript.messages, ask),
    )


def frame_summary(text: str) -> str:
    """The summary as the model will read it in place of the history."""
    return _SUMMARY_FRAME + text


def offered_tools(state: SessionState) -> tuple[ToolDefinition, ...]:
    """The tools that the model may call: enabled sandbox tools first, then custom tools, in the declared order."""
    builtin = (definition(tool.name) for tool in builtin_tools(state.agent))
    custom = (tool for tool in state.agent.tools if isinstance(tool, CustomTool))
    return (
        *(ToolDefinition(tool.name, tool.description, tool.input_schema) for tool in builtin),
        *(ToolDefinition(tool.name, tool.description, tool.input_schema) for tool in custom),
    )


def _system(state: SessionState) -> str:
    return "\n\n".join(part for part in (state.agent.system, sandbox_notes(state)) if part)
