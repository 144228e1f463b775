"""Memory stores and memories as clients write them."""

from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from efferent.common.domain.control.aggregate import UNSET
from efferent.common.domain.control.memory_paths import checked_prefix
from efferent.common.domain.control.memory_store import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX, UpdateMemoryStore
from efferent.common.memory.store import MemoryChange
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params, not_valid, query_int

View = Literal["basic", "full"]
FULL_LIMIT_MAX: Final = 20
"""Items of a page that has contents."""

StoreName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class CreateMemoryStoreParams(Params):
    """Body of ``POST /v1/memory_stores``."""

    name: StoreName
    description: Description | None = None
    metadata: dict[str, str] | None = None


class UpdateMemoryStoreParams(Params):
    """Body of ``POST /v1/memory_stores/{memory_store_id}``: what is not mentioned, or null, stays."""

    name: StoreName | None = None
    description: Description | None = None
    metadata: dict[str, str | None] | None = None

    def command(self) -> UpdateMemoryStore:
        """What is mentioned, as the domain takes it."""
        return UpdateMemoryStore(
            name=UNSET if self.name is None else self.name,
            description=UNSET if self.description is None else self.description,
            metadata=self.metadata or {},
        )


class CreateMemoryParams(Params):
    """Body of ``POST /v1/memory_stores/{memory_store_id}/memories``."""

    path: str
    content: str


class PreconditionParams(Params):
    """What the memory has to say for the update to be made."""

    type: Literal["content_sha256"]
    content_sha256: Sha256


class UpdateMemoryParams(Params):
    """Body of ``POST .../memories/{memory_id}``."""

    path: str | None = None
    content: str | None = None
    precondition: PreconditionParams | None = None

    def change(self) -> MemoryChange:
        """What the memory is to become."""
        expected = self.precondition.content_sha256 if self.precondition is not None else None
        return MemoryChange(self.path, self.content, expected)


def query_view(request: web.Request, default: View) -> View:
    """``view``: with or without contents. Raises InvalidRequest."""
    match request.query.get("view"):
        case None | "":
            return default
        case "basic":
            return "basic"
        case "full":
            return "full"
        case text:
            raise InvalidRequest(f"view: {not_valid(text, ('basic', 'full'))}")


def query_prefix(request: web.Request) -> str:
    """``path_prefix``: the folder that is listed. Raises InvalidRequest."""
    return checked_prefix(request.query.get("path_prefix") or "/")


def query_is_shallow(request: web.Request) -> bool:
    """``depth``: everything below the folder (0), or its direct children (1). Raises InvalidRequest."""
    return query_int(request, "depth", low=0, high=1) == 1


def query_sha256(request: web.Request, name: str) -> str | None:
    """A digest as the API writes it; None when it is not given. An empty one is no digest. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise InvalidRequest(f"{name}: must be 64 lowercase hexadecimal characters")
    return text
