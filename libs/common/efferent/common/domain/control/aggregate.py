"""What every resource of the control plane is: an aggregate whose events each hold its full state.

An event is named like the API's webhook for it (``agent.updated``). So versions, webhooks, audit and projections all
read one record, and the newest record of an aggregate is the aggregate. A resource adds a ``Kind`` and a ``decide``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol

from pydantic import ConfigDict, ValidationError
from pydantic_core import from_json

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import ApiKeyId, Prefix, WorkspaceId
from efferent.common.domain.timestamp import Timestamp

VERSION: Final = 1
Deed = Literal["created", "updated", "archived", "deleted"]


class Unset(Enum):
    """Stands for a field that a request does not mention, where null means something else."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
type Given[T] = T | Literal[Unset.UNSET]


class Resource(Protocol):
    """What all resources have."""

    @property
    def id(self) -> str:
        """Unique among all resources."""

    @property
    def created_at(self) -> Timestamp:
        """When it was made."""

    @property
    def archived_at(self) -> Timestamp | None:
        """When it became read-only; None while it is in use."""


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
    data: R


class UnreadableRecord(ValueError):
    """A payload is not a record of its kind in a version that is known."""


@dataclass(frozen=True, slots=True)
class Kind[R: Resource]:
    """One kind of resource: how its aggregates are named, written and read."""

    name: str
    """Kind in subjects and first part of event types."""
    prefix: Prefix
    record: "type[ControlRecord[R]]"  # quoted: pydantic would make a model of the open type at once
    noun: str
    """How messages call it."""
    in_workspace_set: bool = False
    """Whether subjects name the workspace, so that a rule over all of a workspace's resources can be fenced."""
    version: Callable[[R], int] = lambda _: 1
    unique_name: Callable[[R], str | None] = lambda _: None
    """The name that only one resource of the workspace, archived ones not counted, may have."""

    def encode(self, change: Change[R], *, at: Timestamp, workspace_id: WorkspaceId, actor: ApiKeyId | None) -> bytes:
        """Write what was decided."""
        record = self.record(
            type=f"{self.name}.{change.deed}", at=at, workspace_id=workspace_id, actor=actor, data=change.data
        )
        return record.model_dump_json().encode()

    def decode(self, payload: bytes) -> "ControlRecord[R]":
        """Read a record of any known version. Raises UnreadableRecord."""
        try:
            return self.record.model_validate(from_json(payload))
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            raise UnreadableRecord(f"{self.name}: {problem['loc']} {problem['msg']}") from error
        except ValueError as error:
            raise UnreadableRecord(f"{self.name}: not JSON") from error

    def is_deleted(self, record: "ControlRecord[R]") -> bool:
        """Whether the record says that the resource is gone."""
        return record.type == f"{self.name}.deleted"
