"""What is attached to a session: the rules for a set of resources, and how the set changes. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from efferent.common.domain.events import ResourceAttached
from efferent.common.domain.ids import EnvironmentId, EventId, SessionResourceId
from efferent.common.domain.mount_paths import check_free_upload, repository_path, upload_path
from efferent.common.domain.permissions import BuiltinTool, find_tool
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import EnvironmentConfig, SelfHostedConfig
from efferent.common.domain.resources.session_resource import (
    Checkout,
    FileResource,
    GithubRepositoryResource,
    MemoryAccess,
    MemoryStoreResource,
    StoredContent,
    id_of,
)
from efferent.common.domain.state import Attached, SessionState
from efferent.common.domain.timestamp import Timestamp

FILES_MAX: Final = 500
REPOSITORIES_MAX: Final = 100
MEMORY_STORES_MAX: Final = 8
VAULTS_MAX: Final = 50
INSTRUCTIONS_LENGTH_MAX: Final = 4_096

NOT_FOUND_TEXT: Final = "Session resource not found."


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file as a client asks for it; the session gets a copy."""

    file_id: str
    mount_path: str | None = None
    type: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class RepositorySpec:
    """A repository as a client asks for it."""

    url: str
    authorization_token: str | None = field(default=None, repr=False)
    mount_path: str | None = None
    checkout: Checkout | None = None
    type: Literal["github_repository"] = "github_repository"


@dataclass(frozen=True, slots=True)
class MemoryStoreSpec:
    """A memory store as a client asks for it."""

    memory_store_id: str
    access: MemoryAccess = "read_write"
    instructions: str | None = None
    type: Literal["memory_store"] = "memory_store"


ResourceSpec = FileSpec | RepositorySpec | MemoryStoreSpec


@dataclass(frozen=True, slots=True)
class AttachFile:
    """A file to be attached: the session's own copy, at its resolved place."""

    id: SessionResourceId
    file_id: str
    mount_path: str
    content: StoredContent


@dataclass(frozen=True, slots=True)
class AttachRepository:
    """A repository to be attached. Tokens are sealed and recorded apart."""

    id: SessionResourceId
    url: str
    mount_path: str
    checkout: Checkout | None


@dataclass(frozen=True, slots=True)
class AttachMemoryStore:
    """A memory store to be attached, as it is now."""

    memory_store_id: str
    access: MemoryAccess
    instructions: str | None
    name: str
    description: str
    mount_path: str


Attachment = AttachFile | AttachRepository | AttachMemoryStore


def check_kinds(
    kinds: Sequence[str], agent: AgentSnapshot, environment_id: EnvironmentId, environment: EnvironmentConfig
) -> None:
    """Raise InvalidRequest when a session with this agent and environment cannot have resources of these types."""
    if isinstance(environment, SelfHostedConfig) and any(kind != "memory_store" for kind in kinds):
        raise InvalidRequest(
            f"Environment {environment_id} is self-hosted: file and github_repository `resources` are not supported"
        )
    if "file" in kinds and not isinstance(find_tool(agent, "read"), BuiltinTool):
        raise InvalidRequest("Invalid file resource: the agent has no usable `read` tool")
    for kind, most in (
        ("file", FILES_MAX),
        ("memory_store", MEMORY_STORES_MAX),
        ("github_repository", REPOSITORIES_MAX),
    ):
        if kinds.count(kind) > most:
            raise InvalidRequest(f"resources: at most {most} {kind} resources are allowed")


def places(specs: Sequence[ResourceSpec]) -> dict[int, str]:
    """Where files and repositories go, by their index in the request. Raises InvalidRequest."""
    found: dict[int, str] = {}
    for index, spec in enumerate(specs):
        match spec:
            case FileSpec():
                path = upload_path(spec.mount_path, spec.file_id)
                check_free_upload(path, found.values())
                found[index] = path
            case RepositorySpec():
                found[index] = repository_path(spec.mount_path, spec.url, found.values())
            case MemoryStoreSpec():
                pass
    return found


def check_distinct_stores(specs: Sequence[ResourceSpec]) -> None:
    """Raise InvalidRequest when a memory store is attached twice."""
    seen: set[str] = set()
    for index, spec in enumerate(specs):
        if isinstance(spec, MemoryStoreSpec):
            if spec.memory_store_id in seen:
                raise InvalidRequest(f"resources.{index}: duplicate entry for memory store {spec.memory_store_id}")
            seen.add(spec.memory_store_id)


def check_addition(state: SessionState, mount_path: str) -> None:
    """Raise InvalidRequest when the session cannot get another file at this place."""
    files = [held.resource for held in state.resources if isinstance(held.resource, FileResource)]
    kinds = [*(file.type for file in files), "file"]
    check_kinds(kinds, state.agent, state.environment_id, state.environment_config)
    check_free_upload(mount_path, (file.mount_path for file in files))


def check_rotation(state: SessionState, resource_id: str) -> None:
    """Raise NotFound, or InvalidRequest when the resource has no token that could be replaced."""
    resource = find(state.resources, resource_id).resource
    if not isinstance(resource, GithubRepositoryResource):
        raise InvalidRequest(f"{resource.type} resources cannot be updated; only github_repository resources can")


def attached(attachment: Attachment, id: EventId, at: Timestamp) -> ResourceAttached:
    """The event that attaches it."""
    match attachment:
        case AttachFile():
            file = FileResource(
                id=attachment.id,
                file_id=attachment.file_id,
                mount_path=attachment.mount_path,
                created_at=at,
                updated_at=at,
            )
            return ResourceAttached(id=id, resource=file, content=attachment.content, processed_at=at)
        case AttachRepository():
            repository = GithubRepositoryResource(
                id=attachment.id,
                url=attachment.url,
                mount_path=attachment.mount_path,
                checkout=attachment.checkout,
                created_at=at,
                updated_at=at,
            )
            return ResourceAttached(id=id, resource=repository, processed_at=at)
        case AttachMemoryStore():
            store = MemoryStoreResource(
                memory_store_id=attachment.memory_store_id,
                access=attachment.access,
                instructions=attachment.instructions,
                name=attachment.name,
                description=attachment.description,
                mount_path=attachment.mount_path,
            )
            return ResourceAttached(id=id, resource=store, processed_at=at)


def find(resources: Iterable[Attached], resource_id: str) -> Attached:
    """The attached resource of this id. Raises NotFound."""
    for held in resources:
        if id_of(held.resource) == resource_id:
            return held
    raise NotFound(NOT_FOUND_TEXT)
