"""Keeping credentials: secrets are sealed before they are part of a command, and shredded when nothing needs them.

The order is always: seal, append, shred. What a crash in between leaves is finished when it is asked for again, or at
the next start (``leftovers``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.vaults import CREDENTIALS, VAULTS
from efferent.common.domain.control.credential import (
    CREDENTIAL,
    ArchiveCredential,
    CreateCredential,
    DeleteCredential,
    NewSecrets,
    RecordRefresh,
    SecretsMoved,
    UpdateCredential,
)
from efferent.common.domain.control.vault import ArchiveVault, DeleteVault
from efferent.common.domain.ids import CredentialId, VaultId, WorkspaceId
from efferent.common.domain.refusals import InvalidRequest, Refused
from efferent.common.domain.resources.vault import StoredCredential, Vault
from efferent.common.domain.sealed import Sealed
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.envelope import CannotOpen

_TRIES_MAX: Final = 5

Secrets = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenCredential:
    """A credential and what is sealed in it, both of one moment."""

    credential: StoredCredential
    sealed: Sealed
    secrets: Secrets = field(repr=False)


class VaultKeeper:
    """Changes credentials together with their secrets."""

    def __init__(self, aggregates: Aggregates, box: SecretBox) -> None:
        self._aggregates = aggregates
        self._box = box

    async def create(
        self, actor: Actor, credential_id: CredentialId, secrets: Secrets, command: Callable[[Sealed], CreateCredential]
    ) -> StoredCredential:
        """Make a credential of sealed secrets. Raises Refused, LogUnavailable, LogConflict."""
        sealed = await self._box.seal(credential_id, secrets)
        made = command(sealed)
        try:
            return await CREDENTIALS.change(self._aggregates, actor, credential_id, made, within=made.vault_id)
        except Refused:
            await self._box.shred(credential_id)
            raise

    async def update(
        self, actor: Actor, vault_id: VaultId, credential_id: CredentialId, command: UpdateCredential, secrets: Secrets
    ) -> StoredCredential:
        """Change a credential; secrets that are not mentioned stay. Raises Refused, LogUnavailable, LogConflict."""
        if not secrets:
            return await CREDENTIALS.change(self._aggregates, actor, credential_id, command, within=vault_id)

        def with_secrets(new: NewSecrets) -> UpdateCredential:
            return UpdateCredential(command.display_name, command.metadata, command.auth, new)

        return await self.replace_secrets(actor, vault_id, credential_id, secrets, with_secrets)

    async def replace_secrets(
        self,
        actor: Actor,
        vault_id: VaultId,
        credential_id: CredentialId,
        secrets: Secrets,
        command: Callable[[NewSecrets], RecordRefresh | UpdateCredential],
    ) -> StoredCredential:
        """Put secrets in the place of those of the same names, and make the old ones unreadable.

        Raises Refused, SecretsMoved when others keep changing them, CannotOpen, LogUnavailable, LogConflict.
        """
        for attempt in range(_TRIES_MAX):
            opened = await self.open(actor.workspace_id, vault_id, credential_id)
            sealed = await self._box.seal(credential_id, {**opened.secrets, **secrets})
            try:
                made = command(NewSecrets(sealed, opened.sealed))
                changed = await CREDENTIALS.change(self._aggregates, actor, credential_id, made, within=vault_id)
            except SecretsMoved:
                await self._box.destroy(credential_id, sealed)
                if attempt == _TRIES_MAX - 1:
                    raise
                continue
            except Refused:
                await self._box.destroy(credential_id, sealed)
                raise
            # Only the key that was replaced: another writer may just have made one that the log does not name yet.
            await self._box.destroy(credential_id, opened.sealed)
            return changed
        raise SecretsMoved

    async def archive(self, actor: Actor, vault_id: VaultId, credential_id: CredentialId) -> StoredCredential:
        """Archive a credential and destroy its secrets. Raises Refused, LogUnavailable, LogConflict."""
        archived = await CREDENTIALS.change(
            self._aggregates, actor, credential_id, ArchiveCredential(), within=vault_id
        )
        await self._box.shred(credential_id)
        return archived

    async def delete(self, actor: Actor, vault_id: VaultId, credential_id: CredentialId) -> None:
        """Remove a credential and destroy its secrets. Raises Refused, LogUnavailable, LogConflict."""
        await CREDENTIALS.change(self._aggregates, actor, credential_id, DeleteCredential(), within=vault_id)
        await self._box.shred(credential_id)

    async def archive_vault(self, actor: Actor, vault_id: VaultId) -> Vault:
        """Archive a vault, then each of its credentials; again: what is left. Raises Refused, LogUnavailable."""
        vault = await VAULTS.change(self._aggregates, actor, vault_id, ArchiveVault())
        for credential in await self._aggregates.children(CREDENTIAL, actor.workspace_id, vault_id):
            if credential.archived_at is None:
                await self.archive(actor, vault_id, credential.id)
        return vault

    async def delete_vault(self, actor: Actor, vault_id: VaultId) -> None:
        """Remove the credentials of a vault, then the vault, then those that came in between.

        Raises Refused, LogUnavailable.
        """
        await VAULTS.get(self._aggregates, actor.workspace_id, vault_id)
        await self._delete_credentials(actor, vault_id)
        await VAULTS.change(self._aggregates, actor, vault_id, DeleteVault())
        await self._delete_credentials(actor, vault_id)

    async def open(self, workspace_id: WorkspaceId, vault_id: VaultId, credential_id: CredentialId) -> OpenCredential:
        """A credential as it is now with its secrets, for the moment of their use.

        Secrets whose key is gone were replaced between two reads: looked at again. Raises NotFound, InvalidRequest for
        an archived one, CannotOpen, LogUnavailable.
        """
        unreadable: Sealed | None = None
        while True:
            current = await CREDENTIALS.get(self._aggregates, workspace_id, credential_id, within=vault_id)
            if current.sealed is None:
                raise InvalidRequest("Credential is archived.")
            try:
                return OpenCredential(current, current.sealed, await self._box.open(credential_id, current.sealed))
            except CannotOpen:
                if unreadable == current.sealed:
                    raise
                unreadable = current.sealed

    async def _delete_credentials(self, actor: Actor, vault_id: VaultId) -> None:
        for credential in await self._aggregates.children(CREDENTIAL, actor.workspace_id, vault_id):
            await self.delete(actor, vault_id, credential.id)
