"""Dreams as they are stored and answered: jobs that read a memory store and sessions, and write the store anew."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import DreamId, SessionId
from efferent.common.domain.timestamp import Timestamp

DreamStatus = Literal["pending", "running", "completed", "failed", "canceled"]


class MemoryStoreInput(Shape):
    """The store that is read."""

    type: Literal["memory_store"] = "memory_store"
    memory_store_id: str


class SessionsInput(Shape):
    """The sessions whose transcripts are read."""

    type: Literal["sessions"] = "sessions"
    session_ids: tuple[str, ...]


DreamInput = Annotated[MemoryStoreInput | SessionsInput, Field(discriminator="type")]


class CreateNew(Shape):
    """The result is a new store."""

    type: Literal["create_new"] = "create_new"


class UpdateExisting(Shape):
    """The result is written into the store that is read."""

    type: Literal["update_existing"] = "update_existing"
    memory_store_id: str


OutputBehavior = Annotated[CreateNew | UpdateExisting, Field(discriminator="type")]


class DreamModel(Shape):
    """The model that dreams."""

    id: str
    speed: Literal["standard"] = "standard"


class DreamOutput(Shape):
    """The store with the result."""

    type: Literal["memory_store"] = "memory_store"
    memory_store_id: str


class DreamError(Shape):
    """Why a dream failed."""

    type: Literal[
        "timeout",
        "internal_error",
        "memory_store_org_limit_exceeded",
        "input_memory_store_too_large",
        "input_memory_store_unavailable",
        "input_session_unavailable",
    ]
    message: str


class DreamUsage(Shape):
    """Tokens of the dream's session so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class Dream(Shape):
    """The Dream resource."""

    type: Literal["dream"] = "dream"
    id: DreamId
    status: DreamStatus = "pending"
    inputs: tuple[DreamInput, ...]
    model: DreamModel
    instructions: str | None = None
    output_behavior: OutputBehavior = CreateNew()
    outputs: tuple[DreamOutput, ...] = ()
    session_id: SessionId | None = None
    usage: DreamUsage = DreamUsage()
    error: DreamError | None = None
    created_at: Timestamp
    ended_at: Timestamp | None = None
    archived_at: Timestamp | None = None

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("pending", "running")

    @property
    def memory_store_id(self) -> str:
        """The store that it reads."""
        return next(source.memory_store_id for source in self.inputs if isinstance(source, MemoryStoreInput))

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The sessions that it reads."""
        return next(source.session_ids for source in self.inputs if isinstance(source, SessionsInput))
