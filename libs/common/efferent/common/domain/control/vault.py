"""Vaults: commands, and what they decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import VaultId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.vault import Vault
from efferent.common.domain.timestamp import Timestamp

DISPLAY_NAME_LENGTH_MAX: Final = 255

VAULT: Final[Kind[Vault]] = Kind(
    name="vault", prefix="vlt_", record=ControlRecord[Vault], noun="vault", within="itself"
)


@dataclass(frozen=True, slots=True)
class CreateVault:
    """Make a vault."""

    id: VaultId
    display_name: str
    metadata: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateVault:
    """Change what is mentioned; of the metadata null removes a key."""

    display_name: Given[str] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArchiveVault:
    """Make the vault read-only; its credentials are archived after it."""


@dataclass(frozen=True, slots=True)
class DeleteVault:
    """Remove the vault; its credentials are removed before it."""


VaultCommand = CreateVault | UpdateVault | ArchiveVault | DeleteVault


def not_found() -> NotFound:
    """The refusal when there is no such vault."""
    return NotFound("Vault not found.")


def is_archived() -> InvalidRequest:
    """The refusal of changes to an archived vault."""
    return InvalidRequest("Vault is archived.")


def decide(current: Vault | None, command: VaultCommand, now: Timestamp) -> Change[Vault] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    if isinstance(command, CreateVault):
        if current is not None:
            raise Conflict(f"vault {command.id} exists already")
        metadata = merged({}, command.metadata)
        return Change(
            "created",
            Vault(id=command.id, display_name=command.display_name, metadata=metadata, created_at=now, updated_at=now),
        )
    if current is None:
        raise not_found()
    now = max(now, current.updated_at)
    match command:
        case UpdateVault():
            if current.archived_at is not None:
                raise is_archived()
            changes: dict[str, object] = {"metadata": merged(current.metadata, command.metadata)}
            if command.display_name is not UNSET:
                changes["display_name"] = command.display_name
            changed = current.model_copy(update=changes)
            return None if changed == current else Change("updated", changed.model_copy(update={"updated_at": now}))
        case ArchiveVault():
            if current.archived_at is not None:
                return None
            return Change("archived", current.model_copy(update={"archived_at": now, "updated_at": now}))
        case DeleteVault():
            return Change("deleted", current)
