"""Dreams as clients write them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from efferent.common.domain.control.dream import INSTRUCTIONS_LENGTH_MAX, MODEL_ID_LENGTH_MAX
from efferent.common.domain.resources.dream import CreateNew, DreamModel, OutputBehavior, UpdateExisting
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params

ModelId = Annotated[str, Field(min_length=1, max_length=MODEL_ID_LENGTH_MAX)]


class MemoryStoreInputParams(Params):
    """The store that is read."""

    type: Literal["memory_store"]
    memory_store_id: str


class SessionsInputParams(Params):
    """The sessions that are read."""

    type: Literal["sessions"]
    session_ids: list[str]


class ModelParams(Params):
    """A model as an object."""

    id: ModelId
    speed: Literal["standard"] | None = None


class CreateNewParams(Params):
    """Write a new store."""

    type: Literal["create_new"]


class UpdateExistingParams(Params):
    """Write into the store that is read."""

    type: Literal["update_existing"]
    memory_store_id: str


def _shape_of_model(value: Any) -> str:
    return "id" if isinstance(value, str) else "object"


class CreateDreamParams(Params):
    """Body of ``POST /v1/dreams``."""

    inputs: list[Annotated[MemoryStoreInputParams | SessionsInputParams, Field(discriminator="type")]]
    model: Annotated[
        Annotated[ModelId, Tag("id")] | Annotated[ModelParams, Tag("object")], Discriminator(_shape_of_model)
    ]
    instructions: Annotated[str, Field(min_length=1, max_length=INSTRUCTIONS_LENGTH_MAX)] | None = None
    output_behavior: Annotated[CreateNewParams | UpdateExistingParams, Field(discriminator="type")] | None = None

    def sources(self) -> tuple[str, tuple[str, ...]]:
        """The memory store and the sessions. Raises InvalidRequest unless there is one input of each kind."""
        stores = [source for source in self.inputs if isinstance(source, MemoryStoreInputParams)]
        sessions = [source for source in self.inputs if isinstance(source, SessionsInputParams)]
        if len(stores) != 1 or len(sessions) != 1:
            raise InvalidRequest("inputs: must be exactly one memory_store and exactly one sessions entry")
        return stores[0].memory_store_id, tuple(sessions[0].session_ids)

    def dream_model(self) -> DreamModel:
        """The model with its defaults."""
        return DreamModel(id=self.model if isinstance(self.model, str) else self.model.id)

    def behavior(self) -> OutputBehavior:
        """Where the result goes."""
        match self.output_behavior:
            case UpdateExistingParams(memory_store_id=store_id):
                return UpdateExisting(memory_store_id=store_id)
            case _:
                return CreateNew()
