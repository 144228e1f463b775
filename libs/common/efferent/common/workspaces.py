"""Workspaces: what all resources and keys are scoped to, and their aggregate ``control.workspace.<id>`` in the log.

The default workspace is there without a record, so that a first start needs none; so is a workspace that only keys of
an older release name. Names of active workspaces are unique, which every append is fenced on. Archiving is final: all
keys of an archived workspace are refused, and nothing of it is deleted.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from efferent.common.api_keys import DEFAULT_WORKSPACE_ID
from efferent.common.domain import ids, timestamp
from efferent.common.domain.ids import Seed, WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable, RawRecord

SUBJECT_PATTERN: Final = "control.workspace.*"
DEFAULT_NAME: Final = "Default"
NAME_LENGTH_MAX: Final = 256
WORKSPACES_MAX: Final = 1_000
"""Workspaces of one server, archived ones included."""

_WRITE_TRIES_MAX: Final = 5


class WorkspaceRefused(ValueError):
    """Base of what is wrong with a change of workspaces."""


class UnknownWorkspace(WorkspaceRefused):
    """There is no workspace with this id."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Workspace(BaseModel):
    """What the log knows about a workspace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: WorkspaceId
    name: str
    created_at: Timestamp
    archived_at: Timestamp | None = None


class WorkspaceRecord(BaseModel):
    """One record of the aggregate: its full state after what happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    type: Literal["workspace.created", "workspace.archived"]
    at: Timestamp
    workspace_id: WorkspaceId
    data: Workspace


def subject(workspace_id: WorkspaceId) -> str:
    """The subject of a workspace's aggregate."""
    return f"control.workspace.{workspace_id}"


def decode(raw: RawRecord) -> WorkspaceRecord:
    """Read a record of the aggregate. Raises LogUnreadable."""
    try:
        return WorkspaceRecord.model_validate_json(raw.payload)
    except ValidationError as error:
        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: not a workspace of a version that is known") from error


async def load_workspace(control_log: ControlLog, workspace_id: WorkspaceId) -> Workspace | None:
    """What is recorded of a workspace; None when nothing is. Raises LogUnavailable, LogUnreadable."""
    if not ids.is_well_formed("wrkspc_", workspace_id):
        return None
    raw = await control_log.last(subject(workspace_id))
    return decode(raw).data if raw is not None else None


async def list_workspaces(control_log: ControlLog) -> list[Workspace]:
    """All that are recorded, archived ones included, oldest first. Raises LogUnavailable, LogUnreadable."""
    return (await _all(control_log))[0]


async def create_workspace(control_log: ControlLog, *, name: str, seed: Seed, clock: Clock) -> Workspace:
    """Make a workspace. Raises WorkspaceRefused for a name that is taken or no name, LogUnavailable."""
    if not name.strip() or len(name) > NAME_LENGTH_MAX:
        raise WorkspaceRefused(f"the name of a workspace must have 1 to {NAME_LENGTH_MAX} characters")
    for _ in range(_WRITE_TRIES_MAX):
        known, sequence = await _all(control_log)
        _admit(name, known)
        now = timestamp.from_epoch_us(clock.now_us())
        made = Workspace(id=WorkspaceId(ids.from_seed("wrkspc_", seed)), name=name, created_at=now)
        if await _append(control_log, "workspace.created", made, at=now, expected=sequence):
            return made
    raise LogConflict(0)


async def archive_workspace(control_log: ControlLog, workspace_id: WorkspaceId, *, clock: Clock) -> Workspace:
    """Refuse every key of the workspace from now on; repeating it changes nothing.

    Raises UnknownWorkspace, WorkspaceRefused for the default workspace, LogUnavailable, LogUnreadable.
    """
    if workspace_id == DEFAULT_WORKSPACE_ID:
        raise WorkspaceRefused("the default workspace cannot be archived")
    for _ in range(_WRITE_TRIES_MAX):
        known, sequence = await _all(control_log)
        workspace = next((each for each in known if each.id == workspace_id), None)
        if workspace is None:
            raise UnknownWorkspace
        if workspace.archived_at is not None:
            return workspace
        now = timestamp.from_epoch_us(clock.now_us())
        archived = workspace.model_copy(update={"archived_at": now})
        if await _append(control_log, "workspace.archived", archived, at=now, expected=sequence):
            return archived
    raise LogConflict(0)


def _admit(name: str, known: list[Workspace]) -> None:
    if len(known) >= WORKSPACES_MAX:
        raise WorkspaceRefused(f"a server has at most {WORKSPACES_MAX} workspaces")
    holder = next((each.id for each in known if each.name == name and each.archived_at is None), None)
    if name == DEFAULT_NAME:
        holder = DEFAULT_WORKSPACE_ID
    if holder is not None:
        raise WorkspaceRefused(f'a workspace named "{name}" exists already: {holder}')


async def _all(control_log: ControlLog) -> tuple[list[Workspace], int]:
    """Every recorded workspace in its newest state, and the sequence of the newest record of all."""
    latest: dict[WorkspaceId, Workspace] = {}
    sequence = 0
    async for raw in control_log.read(SUBJECT_PATTERN):
        workspace = decode(raw).data
        latest[workspace.id] = workspace
        sequence = raw.sequence
    return sorted(latest.values(), key=lambda workspace: (workspace.created_at, workspace.id)), sequence


async def _append(
    control_log: ControlLog,
    event: Literal["workspace.created", "workspace.archived"],
    workspace: Workspace,
    *,
    at: Timestamp,
    expected: int,
) -> bool:
    """Append, fenced on all workspaces. False when another change came first."""
    record = WorkspaceRecord(type=event, at=at, workspace_id=workspace.id, data=workspace)
    payload = record.model_dump_json().encode()
    try:
        await control_log.append(subject(workspace.id), payload, expected=expected, fence=SUBJECT_PATTERN)
    except LogConflict:
        return False
    return True
