"""The kinds of resources that the control plane has, for everything that treats them alike."""

from typing import Any, Final

from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.aggregate import Kind
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.ids import WorkspaceId
from efferent.common.jetstream import subjects

KINDS: Final[dict[str, Kind[Any]]] = {kind.name: kind for kind in (AGENT, ENVIRONMENT)}


def subject_of(kind: Kind[Any], workspace_id: WorkspaceId, identifier: str) -> str:
    """Where the aggregate lives."""
    return subjects.control(kind.name, identifier, within=workspace_id if kind.in_workspace_set else None)


def set_of(kind: Kind[Any], workspace_id: WorkspaceId) -> str:
    """The fence over all resources of this kind in a workspace."""
    return subjects.control_fence(kind.name, workspace_id)
