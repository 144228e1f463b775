"""Vaults and credentials in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import credential, vault
from efferent.common.domain.control.credential import CREDENTIAL, CredentialCommand
from efferent.common.domain.control.vault import VAULT, VaultCommand
from efferent.common.domain.resources.vault import StoredCredential, Vault

VAULTS: Final[Collection[Vault, VaultCommand]] = Collection(VAULT, vault.decide, vault.not_found)
CREDENTIALS: Final[Collection[StoredCredential, CredentialCommand]] = Collection(
    CREDENTIAL, credential.decide, credential.missing
)
