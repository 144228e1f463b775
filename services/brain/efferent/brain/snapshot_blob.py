"""A folded session, transcript included, as the bytes of a snapshot; readable by the same code only."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from efferent.brain.session_cache import FoldedSession
from efferent.common import state_blob
from efferent.common.domain import content, context, file_sources, transcript
from efferent.common.domain.content import DocumentBlock, ImageBlock, RedactedBlock, TextBlock
from efferent.common.domain.context import Message, Part, Thought, ToolResult, ToolUse
from efferent.common.domain.ids import RecordId
from efferent.common.domain.transcript import Transcript


class NotASnapshot(ValueError):
    """The bytes are no snapshot that this code wrote."""


@dataclass(frozen=True, slots=True)
class _KeptThought:
    """The parts of a message that have no field that tells them apart in JSON get one: this and the next two."""

    thought: Thought
    type: Literal["kept_thought"] = "kept_thought"


@dataclass(frozen=True, slots=True)
class _KeptUse:
    use: ToolUse
    type: Literal["kept_use"] = "kept_use"


@dataclass(frozen=True, slots=True)
class _KeptResult:
    result: ToolResult
    type: Literal["kept_result"] = "kept_result"


_KeptPart = Annotated[
    TextBlock | ImageBlock | DocumentBlock | RedactedBlock | _KeptThought | _KeptUse | _KeptResult,
    Field(discriminator="type"),
]


@dataclass(frozen=True, slots=True)
class _KeptMessage:
    role: Literal["user", "assistant", "system"]
    parts: tuple[_KeptPart, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    sequence: int
    record_id: RecordId
    events: int
    state: str
    messages: tuple[_KeptMessage, ...]


_KEPT: Final[TypeAdapter[_Kept]] = TypeAdapter(_Kept)


def code_version() -> str:
    """Changes whenever the code changes that folds, or that defines what is folded."""
    return state_blob.code_version(content, context, file_sources, transcript)


def dump(folded: FoldedSession) -> bytes:
    """Write a session that has a state and at least one record."""
    if folded.state is None or folded.record_id is None:
        raise ValueError("there is nothing to keep")
    messages = tuple(
        _KeptMessage(message.role, tuple(_keep(part) for part in message.parts))
        for message in folded.transcript.messages
    )
    state = state_blob.dump_state(folded.state).decode()
    return _KEPT.dump_json(_Kept(folded.sequence, folded.record_id, folded.events, state, messages))


def load(data: bytes) -> FoldedSession:
    """Read what ``dump`` of the same code wrote. Raises NotASnapshot."""
    try:
        kept = _KEPT.validate_json(data)
        state = state_blob.load_state(kept.state.encode())
    except ValidationError as error:
        raise NotASnapshot(f"{error.error_count()} errors") from error
    messages = tuple(
        Message(message.role, tuple(_restored(part) for part in message.parts)) for message in kept.messages
    )
    return FoldedSession(state, Transcript.of(messages), kept.sequence, kept.record_id, kept.events)


def _keep(part: Part) -> _KeptPart:
    match part:
        case Thought():
            return _KeptThought(part)
        case ToolUse():
            return _KeptUse(part)
        case ToolResult():
            return _KeptResult(part)
        case _:
            return part


def _restored(part: _KeptPart) -> Part:
    match part:
        case _KeptThought(thought):
            return thought
        case _KeptUse(use):
            return use
        case _KeptResult(result):
            return result
        case _:
            return part
