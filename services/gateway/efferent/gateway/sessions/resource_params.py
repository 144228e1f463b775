"""Resources of sessions as requests carry them, and what they ask for."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from efferent.common.domain.attachments import (
    INSTRUCTIONS_LENGTH_MAX,
    FileSpec,
    MemoryStoreSpec,
    RepositorySpec,
    ResourceSpec,
)
from efferent.common.domain.ids import is_well_formed
from efferent.common.domain.resources.session_resource import BranchCheckout, CommitCheckout
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params

RESOURCES_MAX: Final = 608
"""Of all types together: 500 files, 100 repositories and 8 memory stores, each with a limit of its own."""
TOKEN_LENGTH_MAX: Final = 4_096
URL_LENGTH_MAX: Final = 2_048

Token = Annotated[str, Field(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class FileResourceParams(Params):
    """A file."""

    type: Literal["file"]
    file_id: str
    mount_path: str | None = None


class BranchParams(Params):
    """A branch."""

    type: Literal["branch"]
    name: Annotated[str, Field(min_length=1, max_length=255)]


class CommitParams(Params):
    """A commit."""

    type: Literal["commit"]
    sha: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{7,64}$")]


class RepositoryResourceParams(Params):
    """A repository on GitHub."""

    type: Literal["github_repository"]
    url: Annotated[str, Field(max_length=URL_LENGTH_MAX)]
    authorization_token: Token | None = Field(default=None, repr=False)
    mount_path: str | None = None
    checkout: Annotated[BranchParams | CommitParams, Field(discriminator="type")] | None = None


class MemoryStoreResourceParams(Params):
    """A memory store."""

    type: Literal["memory_store"]
    memory_store_id: str
    access: Literal["read_write", "read_only"] | None = None
    instructions: Annotated[str, Field(max_length=INSTRUCTIONS_LENGTH_MAX)] | None = None


ResourceParams = Annotated[
    FileResourceParams | RepositoryResourceParams | MemoryStoreResourceParams, Field(discriminator="type")
]
ResourceList = Annotated[list[ResourceParams], Field(max_length=RESOURCES_MAX)]


class RotateTokenParams(Params):
    """``POST /v1/sessions/{id}/resources/{rid}``."""

    authorization_token: Token = Field(repr=False)


def resource_specs(params: Sequence[ResourceParams]) -> tuple[ResourceSpec, ...]:
    """What is asked for. Raises InvalidRequest for ids that none can look like."""
    return tuple(_spec(f"resources[{index}].", item) for index, item in enumerate(params))


def file_spec(params: FileResourceParams) -> FileSpec:
    """The file that is asked for. Raises InvalidRequest."""
    return _file(params, "")


def _spec(place: str, params: ResourceParams) -> ResourceSpec:
    match params:
        case FileResourceParams():
            return _file(params, place)
        case RepositoryResourceParams():
            return RepositorySpec(params.url, params.authorization_token, params.mount_path, _checkout(params))
        case MemoryStoreResourceParams():
            if not is_well_formed("memstore_", params.memory_store_id):
                raise InvalidRequest(f"{place}memory_store_id: Invalid memory store ID.")
            return MemoryStoreSpec(params.memory_store_id, params.access or "read_write", params.instructions)


def _file(params: FileResourceParams, place: str) -> FileSpec:
    if not is_well_formed("file_", params.file_id):
        raise InvalidRequest(f"{place}file_id: Invalid file ID.")
    return FileSpec(params.file_id, params.mount_path)


def _checkout(params: RepositoryResourceParams) -> BranchCheckout | CommitCheckout | None:
    match params.checkout:
        case BranchParams(name=name):
            return BranchCheckout(name=name)
        case CommitParams(sha=sha):
            return CommitCheckout(sha=sha)
        case None:
            return None
