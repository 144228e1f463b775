"""What a crash left of secrets that should be gone: found in the log at the next start of a gateway, and finished.

Archives and deletes append first and shred then; replacing a secret appends first and destroys the old key then; the
cascade of a vault goes from credential to credential. All of it may stop in between. Whoever asks again finishes it,
and so does this. Any number of gateways may do it at once.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from efferent.common.control.aggregates import Actor
from efferent.common.control.kinds import subject_of
from efferent.common.control.webhook_endpoints import HOME
from efferent.common.domain.control.aggregate import ControlRecord, Kind, UnreadableRecord
from efferent.common.domain.control.credential import CREDENTIAL
from efferent.common.domain.control.deployment import DEPLOYMENT
from efferent.common.domain.control.vault import VAULT
from efferent.common.domain.control.webhook_endpoint import WEBHOOK_ENDPOINT
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.vault import StoredCredential
from efferent.common.domain.sealed import Sealed
from efferent.common.jetstream import subjects
from efferent.common.ports import ControlLog, DataKeys
from efferent.common.vaults.keeper import VaultKeeper

_log: Final = logging.getLogger(__name__)


class Leftovers:
    """Finishes what others began with secrets of credentials, webhook endpoints and deployments."""

    def __init__(self, control_log: ControlLog, keys: DataKeys, keeper: VaultKeeper) -> None:
        self._control_log = control_log
        self._keys = keys
        self._keeper = keeper

    async def finish(self) -> int:
        """Go through everybody who has keys; returns how many had too much. Raises LogUnavailable."""
        found = 0
        for owner in await self._keys.owners():
            try:
                found += await self._finish(owner)
            except (UnreadableRecord, Refused) as error:
                _log.warning("secrets are left as they are: %s", error, extra={"owner": owner})
        if found:
            _log.info("secrets that a crash had left were destroyed", extra={"owners": found})
        return found

    async def _finish(self, owner: str) -> bool:
        if owner.startswith(CREDENTIAL.prefix):
            return await self._finish_credential(owner)
        if owner.startswith(WEBHOOK_ENDPOINT.prefix):
            subject = subject_of(WEBHOOK_ENDPOINT, HOME, owner)
            record = await self._newest(WEBHOOK_ENDPOINT, subject)
            if record is None:
                return False  # it may be about to be written
            if WEBHOOK_ENDPOINT.is_deleted(record):
                return await self._destroy(owner, await self._keys.ids(owner))
            return await self._destroy_replaced(owner, subject, record.data.signing_secret)
        if owner.startswith(DEPLOYMENT.prefix):
            return await self._finish_deployment(owner)
        return False

    async def _finish_deployment(self, owner: str) -> bool:
        subject = subjects.control(DEPLOYMENT.subject_family, owner)
        record = await self._newest(DEPLOYMENT, subject)
        if record is None:
            return False
        if record.data.archived_at is not None:
            return await self._destroy(owner, await self._keys.ids(owner))
        return await self._destroy_replaced(owner, subject, record.data.tokens)

    async def _finish_credential(self, owner: str) -> bool:
        record = await self._newest(CREDENTIAL, subjects.control_in_any_set(CREDENTIAL.subject_family, owner))
        if record is None:
            return False
        credential = record.data
        if credential.sealed is None:
            return await self._destroy(owner, await self._keys.ids(owner))
        if await self._finish_cascade(record, credential):
            return True
        subject = subject_of(CREDENTIAL, record.workspace_id, owner, within=credential.vault_id)
        return await self._destroy_replaced(owner, subject, credential.sealed)

    async def _finish_cascade(self, record: ControlRecord[StoredCredential], credential: StoredCredential) -> bool:
        vault = await self._newest(VAULT, subject_of(VAULT, record.workspace_id, credential.vault_id))
        actor = Actor(record.workspace_id)
        if vault is not None and VAULT.is_deleted(vault):
            await self._keeper.delete(actor, credential.vault_id, credential.id)
            return True
        if vault is not None and vault.data.archived_at is not None:
            await self._keeper.archive(actor, credential.vault_id, credential.id)
            return True
        return False

    async def _destroy_replaced(self, owner: str, subject: str, current: Sealed | None) -> bool:
        """Destroy keys that an earlier record names; a key that no record names may belong to the next one."""
        others = [key_id for key_id in await self._keys.ids(owner) if current is None or key_id != current.key_id]
        if not others:
            return False
        replaced: set[str] = set()
        async for raw in self._control_log.read(subject):
            replaced |= {key_id for key_id in others if key_id.encode() in raw.payload}
        return await self._destroy(owner, sorted(replaced))

    async def _destroy(self, owner: str, key_ids: Sequence[str]) -> bool:
        for key_id in key_ids:
            await self._keys.delete(owner, key_id)
        return bool(key_ids)

    async def _newest[R: Any](self, kind: Kind[R], subject: str) -> ControlRecord[R] | None:
        raw = await self._control_log.last(subject)
        return kind.decode(raw.payload) if raw is not None else None
