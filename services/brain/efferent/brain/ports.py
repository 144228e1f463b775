"""Ports of the brain: a model that answers, hands that run tools, and what may go wrong with either."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from efferent.brain.placements import Collected, MemoryChange, MemoryPlace, Output, Placement
from efferent.common.domain.content import DocumentBlock, ImageBlock, TextBlock
from efferent.common.domain.context import Message, Thought
from efferent.common.domain.events.stop import RefusalStopDetails
from efferent.common.domain.ids import EventId, SessionId, WorkspaceId
from efferent.common.domain.resources.agent import ModelConfig
from efferent.common.domain.usage import ModelUsage


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as the model is offered it."""

    name: str
    description: str
    input_schema: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything that one model request is made from. No provider's words in it."""

    model: ModelConfig
    system: str
    tools: tuple[ToolDefinition, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ThinkingStarted:
    """Thinking begins; ``block`` is the index of the part that it becomes in ``ModelReply.parts``."""

    block: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text; ``block`` is the index of the part that it becomes in ``ModelReply.parts``."""

    block: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDraft:
    """A call that the model asks for; it has no id yet, since ids are the log's."""

    name: str
    input: dict[str, JsonValue]


ReplyPart = Thought | TextBlock | ToolCallDraft

ReplyStop = Literal["end_turn", "tool_use", "max_tokens", "refusal", "context_window_exceeded", "pause_turn"]


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A finished answer; the last thing that a stream gives."""

    parts: tuple[ReplyPart, ...]
    stop: ReplyStop
    usage: ModelUsage
    refusal: RefusalStopDetails | None = None
    answered_by: str | None = None
    """Id of the model that answered when it is not the one that was asked (a fallback): price and name this one."""


ModelChunk = ThinkingStarted | TextDelta | ModelReply


class ModelFailure(Exception):
    """A model request failed.

    ``kind`` is the ``session.error`` type without its suffix. ``verdict`` says what another try with the same request
    could do: ``retryable`` may succeed, ``exhausted`` will not succeed until somebody changes something outside the
    session (a key, a bill), ``terminal`` never (the provider refuses this very history). The message names the provider
    and, where it helps, the variable to set; it never holds a key or a request body.
    """

    def __init__(
        self,
        kind: Literal["model_overloaded", "model_rate_limited", "model_request_failed", "billing", "unknown"],
        verdict: Literal["retryable", "exhausted", "terminal"],
        message: str,
        *,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.verdict = verdict
        self.message = message
        self.retry_after_s = retry_after_s


class Model(Protocol):
    """One provider's models."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Ask the model. Yields chunks as they come and last a ModelReply. Raises ModelFailure.

        Closing the iterator (or cancelling the task) ends the request at once.
        """

    async def close(self) -> None:
        """Close connections."""


class Memories(Protocol):
    """The memory stores, as sessions use them."""

    async def listing(self, workspace_id: WorkspaceId, memory_store_id: str) -> tuple[MemoryPlace, ...]:
        """Every memory of a store; of one that is gone, none. Raises LogUnavailable."""

    async def write(
        self, workspace_id: WorkspaceId, session_id: SessionId, memory_store_id: str, change: MemoryChange
    ) -> None:
        """Record what a session's agent did. Raises Refused when the store does not take it, LogUnavailable."""


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool call gave."""

    content: tuple[TextBlock | ImageBlock | DocumentBlock, ...]
    is_error: bool


class HandsUnavailable(Exception):
    """The hands did not answer. Whether the call ran is known to their journal: ask again with the same call id."""


class PlacementMissing(HandsUnavailable):
    """The call needs files that are not placed in its sandbox; prepare the sandbox and ask again."""


class OutputGone(Exception):
    """The output is another one now, or none."""


class Hands(Protocol):
    """Runs tool calls in a session's sandbox."""

    async def execute(
        self,
        session_id: SessionId,
        call_id: EventId,
        tool: str,
        arguments: dict[str, JsonValue],
        *,
        placement: str = "",
    ) -> ToolOutcome:
        """Run the call once, or attach to it when it runs, or return its recorded result.

        Raises PlacementMissing when another placement is there than the named one, HandsUnavailable.
        """

    async def prepare(self, session_id: SessionId, placement: Placement) -> None:
        """Place exactly this in the session's sandbox. Raises HandsUnavailable."""

    async def collect(self, session_id: SessionId) -> Collected:
        """What the session's tools have made and nobody has kept yet. Raises HandsUnavailable."""

    def read_output(self, session_id: SessionId, output: Output) -> AsyncGenerator[bytes, None]:
        """The bytes of an output. Raises OutputGone, HandsUnavailable."""

    async def settle(self, session_id: SessionId, outputs: tuple[Output, ...]) -> None:
        """These outputs are kept. Raises HandsUnavailable."""

    async def cancel(self, session_id: SessionId, call_id: EventId) -> None:
        """Stop the call when it runs. Raises HandsUnavailable."""

    async def close(self) -> None:
        """Close connections."""
