"""Dreams: commands, and what they decide. Only one dream at a time may write into a store that it did not make."""

from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import Change, ControlRecord, Kind, SetFacts
from efferent.common.domain.ids import DreamId, SessionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.dream import (
    CreateNew,
    Dream,
    DreamError,
    DreamModel,
    DreamOutput,
    DreamUsage,
    MemoryStoreInput,
    OutputBehavior,
    SessionsInput,
    UpdateExisting,
)
from efferent.common.domain.timestamp import Timestamp

SESSIONS_MAX: Final = 100
INSTRUCTIONS_LENGTH_MAX: Final = 4_096
MODEL_ID_LENGTH_MAX: Final = 256


def _written_store(dream: Dream) -> str | None:
    if dream.is_live and isinstance(dream.output_behavior, UpdateExisting):
        return dream.output_behavior.memory_store_id
    return None


def _admit(dream: Dream, facts: SetFacts) -> None:
    if facts.holder is not None and _written_store(dream) is not None:
        raise Conflict(f"Dream {facts.holder} is writing into memory store {_written_store(dream)} at present.")


DREAM: Final[Kind[Dream]] = Kind(
    name="dream",
    prefix="drm_",
    record=ControlRecord[Dream],
    noun="dream",
    deeds=("created", "updated", "archived"),
    within="workspace",
    unique_name=_written_store,
    admit=_admit,
    facets=lambda dream: {"status": dream.status},
)


@dataclass(frozen=True, slots=True)
class CreateDream:
    """Ask for a dream; that its inputs are there was looked at before."""

    id: DreamId
    memory_store_id: str
    session_ids: tuple[str, ...]
    model: DreamModel
    instructions: str | None = None
    output_behavior: OutputBehavior = field(default_factory=CreateNew)


@dataclass(frozen=True, slots=True)
class StartDream:
    """The session that dreams has begun."""

    session_id: SessionId
    output_store_id: str


@dataclass(frozen=True, slots=True)
class CountDream:
    """The session has used more tokens."""

    usage: DreamUsage


@dataclass(frozen=True, slots=True)
class CompleteDream:
    """The session has done its work."""

    usage: DreamUsage


@dataclass(frozen=True, slots=True)
class FailDream:
    """The dream cannot go on."""

    error: DreamError
    usage: DreamUsage | None = None


@dataclass(frozen=True, slots=True)
class CancelDream:
    """Somebody does not want it any more."""


@dataclass(frozen=True, slots=True)
class ArchiveDream:
    """Put an ended dream away."""


DreamCommand = CreateDream | StartDream | CountDream | CompleteDream | FailDream | CancelDream | ArchiveDream


def not_found() -> NotFound:
    """The refusal when there is no such dream."""
    return NotFound("Dream not found.")


def decide(current: Dream | None, command: DreamCommand, now: Timestamp) -> Change[Dream] | None:
    """The next state; None when nothing changes, also for what comes after the end. Raises Refused."""
    if isinstance(command, CreateDream):
        if current is not None:
            raise Conflict(f"dream {command.id} exists already")
        return Change("created", _create(command, now))
    if current is None:
        raise not_found()
    match command:
        case StartDream(session_id=session_id, output_store_id=store_id):
            if current.status != "pending":
                return None
            outputs = (DreamOutput(memory_store_id=store_id),)
            changes = {"status": "running", "session_id": session_id, "outputs": outputs}
            return Change("updated", current.model_copy(update=changes))
        case CountDream(usage=usage):
            if not current.is_live or usage == current.usage:
                return None
            return Change("updated", current.model_copy(update={"usage": usage}))
        case CompleteDream(usage=usage):
            if not current.is_live:
                return None
            return _ended(current, now, status="completed", usage=usage)
        case FailDream(error=error, usage=usage):
            if not current.is_live:
                return None
            return _ended(current, now, status="failed", error=error, usage=usage or current.usage)
        case CancelDream():
            if current.status == "canceled":
                return None
            if not current.is_live:
                raise InvalidRequest(f"Dream cannot be canceled: its status is {current.status}.")
            return _ended(current, now, status="canceled")
        case ArchiveDream():
            if current.archived_at is not None:
                return None
            if current.is_live:
                raise InvalidRequest(f"Dream cannot be archived while its status is {current.status}.")
            return Change("archived", current.model_copy(update={"archived_at": now}))


def _create(command: CreateDream, now: Timestamp) -> Dream:
    if not 1 <= len(command.session_ids) <= SESSIONS_MAX:
        raise InvalidRequest(f"inputs: a sessions input has 1 to {SESSIONS_MAX} session_ids")
    if len(set(command.session_ids)) != len(command.session_ids):
        raise InvalidRequest("inputs: session_ids must be distinct")
    behavior = command.output_behavior
    if isinstance(behavior, UpdateExisting) and behavior.memory_store_id != command.memory_store_id:
        raise InvalidRequest("output_behavior.memory_store_id: must be the memory store of the inputs")
    return Dream(
        id=command.id,
        inputs=(
            MemoryStoreInput(memory_store_id=command.memory_store_id),
            SessionsInput(session_ids=tuple(sorted(command.session_ids))),
        ),
        model=command.model,
        instructions=command.instructions,
        output_behavior=behavior,
        created_at=now,
    )


def _ended(dream: Dream, now: Timestamp, **changes: object) -> Change[Dream]:
    return Change("updated", dream.model_copy(update={**changes, "ended_at": max(now, dream.created_at)}))
