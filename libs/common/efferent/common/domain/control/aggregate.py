"""What every resource of the control plane is: an aggregate whose events each hold its full state.

An event is named like the API's webhook for it (``agent.updated``). So versions, webhooks, audit and projections all
read one record, and the newest record of an aggregate is the aggregate. A resource adds a ``Kind`` and a ``decide``.

A rule over several resources (unique names, counts, a parent that must still be there) is a rule over the *set* that
their subjects name: it is given the set's facts, and the append is fenced on the whole set.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import ApiKeyId, Prefix, WorkspaceId
from efferent.common.domain.timestamp import Timestamp

VERSION: Final = 1
Deed = Literal[
    "created",
    "updated",
    "archived",
    "deleted",
    "paused",
    "unpaused",
    "started",
    "succeeded",
    "failed",
    "refresh_failed",
    "redacted",
]
"""What happened, as the API's webhook types call it."""
Within = Literal["nothing", "organization", "workspace", "itself", "parent"]
"""The set that a rule is about, as subjects name it: none, all of the kind (which needs no token of its own), all
resources of a workspace, those of this parent, or those of its parent."""
ORGANIZATION: Final = "organization"
"""The set of all resources of a kind, whatever their workspace."""


class Unset(Enum):
    """Stands for a field that a request does not mention, where null means something else."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
type Given[T] = T | Literal[Unset.UNSET]


class Resource(Protocol):
    """What all resources have; they are pydantic models."""

    @property
    def id(self) -> str:
        """Unique among all resources."""

    @property
    def created_at(self) -> Timestamp:
        """When it was made."""

    @property
    def archived_at(self) -> Timestamp | None:
        """When it became read-only; None while it is in use."""

    def model_dump_json(self) -> str:
        """The resource as JSON."""


@dataclass(frozen=True, slots=True)
class Change[R: Resource]:
    """What was decided: the deed and the full state after it."""

    deed: Deed
    data: R


class ControlRecord[R](Shape):
    """One record of an aggregate, as it stands in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    type: str
    at: Timestamp
    workspace_id: WorkspaceId
    actor: ApiKeyId | None = None
    """Whose key did it; None: the platform itself."""
    shape: str = Field(default="", exclude_if=lambda shape: not shape)
    """What names the fields of ``data`` as they were when it was written; empty for kinds that do not say so."""
    data: R


class Recorded(Protocol):
    """What is asked of a record, however far it was read."""

    @property
    def type(self) -> str:
        """The kind and the deed."""

    @property
    def workspace_id(self) -> WorkspaceId:
        """Where the resource is."""

    @property
    def data(self) -> Any:
        """The resource, or what was read of it."""


class UnreadableRecord(ValueError):
    """A payload is not a record of its kind in a version that is known."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What a rule over a set may know of it, all at one moment that the append is fenced on."""

    holder: str | None = None
    """Another resource that has the unique name already."""
    members: int = 0
    """Other resources of the kind in the set, archived ones not counted."""
    total: int = 0
    """The same with archived ones."""
    parent: Literal["missing", "archived", "active"] = "missing"
    """The resource that the set belongs to."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Another resource that a record tells of: it has no record of its own, at least not yet."""

    kind: "Kind[Any]"
    data: Any


@dataclass(frozen=True, slots=True)
class Kind[R: Resource]:
    """One kind of resource: how its aggregates are named, written and read."""

    name: str
    """First part of event types."""
    prefix: Prefix
    record: "type[ControlRecord[R]]"  # quoted: pydantic would make a model of the open type at once
    noun: str
    """How messages call it."""
    deeds: tuple[Deed, ...] = ("created", "updated", "archived", "deleted")
    """What can happen to it."""
    family: str = ""
    """Kind in subjects; a parent and its children share one. Empty: the name."""
    within: Within = "nothing"
    version: Callable[[R], int] = lambda _: 1
    keeps_versions: bool = False
    """Whether older versions are listed; the version then says which one a state is."""
    parent: Callable[[R], str | None] = lambda _: None
    """Id of the resource that it belongs to; lists can be asked for those of one parent."""
    unique_name: Callable[[R], str | None] = lambda _: None
    """The name that only one resource of the set, archived ones not counted, may have."""
    admit: Callable[[R, SetFacts], None] | None = None
    """The rule of the set: asked when a resource is made or gets another unique name. Raises what refuses it."""
    counts: Callable[[R], bool] = lambda _: True
    """Whether the rule of the set is about this resource; one that begins to count is asked for as a new one is."""
    facets: Callable[[R], Mapping[str, str]] = lambda _: {}
    """What lists may be filtered and sorted by, besides the parent."""
    derived: Callable[["ControlRecord[R]"], Derived | None] = lambda _: None
    """What lists of another kind learn from a record: of a change of a memory, the version that it made."""
    show: Callable[[R], BaseModel] | None = None
    """What clients get of it; None: all of it."""
    says_shape: bool = False
    """Whether its records name their shape: then lists can take a resource as it was written, without decoding it."""

    @property
    def shape(self) -> str:
        """What names the fields of the resource as they are in this release; empty when its records do not say so."""
        return _shape_of(self.record) if self.says_shape else ""

    @property
    def subject_family(self) -> str:
        """The token of subjects that names the kind."""
        return self.family or self.name

    def set_of(self, data: R, workspace_id: WorkspaceId) -> str | None:
        """The set that a resource counts in; None when there is none."""
        if not self.counts(data):
            return None
        match self.within:
            case "nothing":
                return None
            case "organization":
                return ORGANIZATION
            case "workspace":
                return workspace_id
            case "itself":
                return data.id
            case "parent":
                return self.parent(data)

    def shown(self, data: R) -> bytes:
        """The resource as clients get it, as JSON."""
        return (data if self.show is None else self.show(data)).model_dump_json().encode()

    def encode(self, change: Change[R], *, at: Timestamp, workspace_id: WorkspaceId, actor: ApiKeyId | None) -> bytes:
        """Write what was decided."""
        record = self.record(
            type=f"{self.name}.{change.deed}",
            at=at,
            workspace_id=workspace_id,
            actor=actor,
            shape=self.shape,
            data=change.data,
        )
        return record.model_dump_json().encode()

    def decode(self, payload: bytes) -> "ControlRecord[R]":
        """Read a record of any known version. Raises UnreadableRecord."""
        try:
            return self.record.model_validate_json(payload)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            raise UnreadableRecord(f"{self.name}: {problem['loc']} {problem['msg']}") from error

    def is_deleted(self, record: Recorded) -> bool:
        """Whether the record says that the resource is gone."""
        return record.type == f"{self.name}.deleted"


@lru_cache
def _shape_of(record: "type[ControlRecord[Any]]") -> str:
    schema = record.model_json_schema(mode="serialization")
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:12]
