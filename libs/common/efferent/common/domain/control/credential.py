"""Credentials of vaults: commands, and what they decide. They live in their vault's set, which holds their rules.

The secrets themselves never come here, only what was sealed. A command that replaces some of a credential's secrets
names the sealed ones that it was made from; when those are not the stored ones any more, it has to be made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind, SetFacts
from efferent.common.domain.control.credential_rules import (
    check_auth,
    check_expiry,
    server_key,
)
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.control.vault import is_archived
from efferent.common.domain.control.vault import not_found as vault_not_found
from efferent.common.domain.ids import CredentialId, VaultId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.vault import (
    CredentialAuth,
    CredentialNetworking,
    EnvironmentVariableAuth,
    InjectionLocation,
    McpOAuthAuth,
    StaticBearerAuth,
    StoredCredential,
)
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp

CREDENTIALS_MAX: Final = 20
"""Active credentials of one vault."""
RECORDS_MAX: Final = 1_000
"""Credentials of one vault, archived ones counted: they are read together."""


def _unique_name(credential: StoredCredential) -> str:
    auth = credential.auth
    match auth:
        case EnvironmentVariableAuth():
            return f"variable {auth.secret_name}"
        case McpOAuthAuth() | StaticBearerAuth():
            return f"server {server_key(auth.mcp_server_url)}"


def _admit(credential: StoredCredential, facts: SetFacts) -> None:
    if facts.parent == "missing":
        raise vault_not_found()
    if facts.parent == "archived":
        raise is_archived()
    if facts.holder is not None:
        what = "secret_name" if isinstance(credential.auth, EnvironmentVariableAuth) else "mcp_server_url"
        raise Conflict(f"A credential with the same {what} already exists in this vault: {facts.holder}")
    if facts.members >= CREDENTIALS_MAX:
        raise InvalidRequest(f"A vault can have at most {CREDENTIALS_MAX} credentials.")
    if facts.total >= RECORDS_MAX:
        raise InvalidRequest(f"A vault can have at most {RECORDS_MAX} credentials; delete some of the archived ones.")


CREDENTIAL: Final[Kind[StoredCredential]] = Kind(
    name="vault_credential",
    prefix="vcrd_",
    record=ControlRecord[StoredCredential],
    noun="credential",
    deeds=("created", "updated", "archived", "deleted", "refresh_failed"),
    family="vault",
    within="parent",
    parent=lambda credential: credential.vault_id,
    unique_name=_unique_name,
    admit=_admit,
    show=StoredCredential.shown,
)


@dataclass(frozen=True, slots=True)
class CreateCredential:
    """Make a credential; nobody checks the secrets against anything."""

    id: CredentialId
    vault_id: VaultId
    auth: CredentialAuth
    sealed: Sealed
    display_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class McpOAuthPatch:
    """Changes of an OAuth credential; which other fields there are never changes."""

    expires_at: Given[Timestamp | None] = UNSET
    scope: Given[str | None] = UNSET
    touches_refresh: bool = False
    """Whether the request speaks of the refresh at all, which must then exist."""
    touches_client_secret: bool = False
    """Whether it brings a client secret, which the token endpoint must then want."""


@dataclass(frozen=True, slots=True)
class StaticBearerPatch:
    """A static token has nothing but its secret."""


@dataclass(frozen=True, slots=True)
class EnvironmentVariablePatch:
    """Changes of a variable; of the location what is not mentioned stays."""

    networking: Given[CredentialNetworking] = UNSET
    header: Given[bool] = UNSET
    body: Given[bool] = UNSET


AuthPatch = McpOAuthPatch | StaticBearerPatch | EnvironmentVariablePatch


@dataclass(frozen=True, slots=True)
class NewSecrets:
    """Secrets that take the place of others."""

    sealed: Sealed
    instead_of: Sealed | None


@dataclass(frozen=True, slots=True)
class UpdateCredential:
    """Change what is mentioned."""

    display_name: Given[str | None] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)
    auth: AuthPatch | None = None
    secrets: NewSecrets | None = None


@dataclass(frozen=True, slots=True)
class RecordRefresh:
    """A token endpoint gave a new access token."""

    secrets: NewSecrets
    expires_at: Timestamp | None


@dataclass(frozen=True, slots=True)
class RecordRefreshFailure:
    """A token endpoint refused to give a new access token."""


@dataclass(frozen=True, slots=True)
class ArchiveCredential:
    """Purge the secrets and free the name; the rest stays readable."""


@dataclass(frozen=True, slots=True)
class DeleteCredential:
    """Remove the credential."""


CredentialCommand = (
    CreateCredential | UpdateCredential | RecordRefresh | RecordRefreshFailure | ArchiveCredential | DeleteCredential
)


class SecretsMoved(Conflict):
    """The secrets were replaced since the new ones were made from them: make the command again."""

    def __init__(self) -> None:
        super().__init__("The credential was changed at the same time. Please retry.")


def missing() -> NotFound:
    """The refusal when there is no such credential."""
    return NotFound("Credential not found.")


def decide(
    current: StoredCredential | None, command: CredentialCommand, now: Timestamp
) -> Change[StoredCredential] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict, SecretsMoved."""
    if isinstance(command, CreateCredential):
        if current is not None:
            raise Conflict(f"credential {command.id} exists already")
        return Change("created", _create(command, now))
    if current is None:
        raise missing()
    now = max(now, current.updated_at)
    match command:
        case UpdateCredential():
            return _update(current, command, now)
        case RecordRefresh(secrets=secrets, expires_at=expires_at):
            auth = _active(current).auth
            if not isinstance(auth, McpOAuthAuth):
                raise InvalidRequest("only mcp_oauth credentials are refreshed")
            renewed = auth.model_copy(update={"expires_at": expires_at})
            sealed = _taken(current, secrets)
            return Change("updated", current.model_copy(update={"auth": renewed, "sealed": sealed, "updated_at": now}))
        case RecordRefreshFailure():
            return Change("refresh_failed", _active(current))
        case ArchiveCredential():
            if current.archived_at is not None:
                return None
            purged = current.model_copy(update={"archived_at": now, "updated_at": now, "sealed": None})
            return Change("archived", purged)
        case DeleteCredential():
            return Change("deleted", current.model_copy(update={"sealed": None}))


def _create(command: CreateCredential, now: Timestamp) -> StoredCredential:
    check_auth(command.auth)
    if isinstance(command.auth, McpOAuthAuth):
        check_expiry(command.auth.expires_at, now)
    return StoredCredential(
        id=command.id,
        vault_id=command.vault_id,
        display_name=command.display_name,
        auth=command.auth,
        metadata=merged({}, command.metadata),
        created_at=now,
        updated_at=now,
        sealed=command.sealed,
    )


def _update(current: StoredCredential, command: UpdateCredential, now: Timestamp) -> Change[StoredCredential] | None:
    _active(current)
    changes: dict[str, object] = {"metadata": merged(current.metadata, command.metadata)}
    if command.display_name is not UNSET:
        changes["display_name"] = command.display_name
    if command.auth is not None:
        changes["auth"] = _patched(current.auth, command.auth, now)
    if command.secrets is not None:
        changes["sealed"] = _taken(current, command.secrets)
    changed = current.model_copy(update=changes)
    return None if changed == current else Change("updated", changed.model_copy(update={"updated_at": now}))


def _taken(current: StoredCredential, secrets: NewSecrets) -> Sealed:
    if current.sealed != secrets.instead_of:
        raise SecretsMoved
    return secrets.sealed


def _active(current: StoredCredential) -> StoredCredential:
    if current.archived_at is not None:
        raise InvalidRequest("Credential is archived.")
    return current


def _patched(auth: CredentialAuth, patch: AuthPatch, now: Timestamp) -> CredentialAuth:
    match auth, patch:
        case McpOAuthAuth(), McpOAuthPatch():
            return _patched_oauth(auth, patch, now)
        case StaticBearerAuth(), StaticBearerPatch():
            return auth
        case EnvironmentVariableAuth(), EnvironmentVariablePatch():
            location = _patched_location(auth.injection_location, patch)
            networking = auth.networking if patch.networking is UNSET else patch.networking
            changed = auth.model_copy(update={"injection_location": location, "networking": networking})
            check_auth(changed)
            return changed
        case _:
            raise InvalidRequest(f"auth.type: cannot be changed; the credential is of type {auth.type}")


def _patched_oauth(auth: McpOAuthAuth, patch: McpOAuthPatch, now: Timestamp) -> McpOAuthAuth:
    changes: dict[str, object] = {}
    if patch.expires_at is not UNSET:
        check_expiry(patch.expires_at, now)
        changes["expires_at"] = patch.expires_at
    if patch.touches_refresh and auth.refresh is None:
        raise InvalidRequest("auth.refresh: the credential was made without one, and none can be added")
    if patch.touches_client_secret and auth.refresh is not None and auth.refresh.token_endpoint_auth.type == "none":
        raise InvalidRequest("auth.refresh.token_endpoint_auth: the credential's token endpoint wants no client secret")
    if patch.scope is not UNSET and auth.refresh is not None:
        changes["refresh"] = auth.refresh.model_copy(update={"scope": patch.scope or None})
    return auth.model_copy(update=changes)


def _patched_location(location: InjectionLocation, patch: EnvironmentVariablePatch) -> InjectionLocation:
    given = {"header": patch.header, "body": patch.body}
    return location.model_copy(update={name: value for name, value in given.items() if value is not UNSET})
