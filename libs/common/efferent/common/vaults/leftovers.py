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
from efferent.common.domain.ids import SessionId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.vault import StoredCredential
from efferent.common.jetstream import subjects
from efferent.common.ports import BlobsUnavailable, ControlLog, DataKeys, LogConflict, LogUnreadable, SessionLog
from efferent.common.vaults.keeper import VaultKeeper

_log: Final = logging.getLogger(__name__)


class Leftovers:
    """Finishes what others began with secrets of credentials, webhook endpoints, deployments and sessions."""

    def __init__(self, control_log: ControlLog, session_log: SessionLog, keys: DataKeys, keeper: VaultKeeper) -> None:
        self._control_log = control_log
        self._session_log = session_log
        self._keys = keys
        self._keeper = keeper

    async def finish(self) -> int:
        """Go through everybody who has keys; returns how many had too much. Raises LogUnavailable."""
        found = 0
        for owner in await self._keys.owners():
            try:
                found += await self._finish(owner)
            except (UnreadableRecord, LogUnreadable, LogConflict, BlobsUnavailable, Refused) as error:
                _log.warning("secrets are left as they are: %s", error, extra={"owner": owner})
        if found:
            _log.info("secrets that a crash had left were destroyed", extra={"owners": found})
        return found

    async def _finish(self, owner: str) -> bool:
        match owner.partition("_")[0] + "_":
            case CREDENTIAL.prefix:
                return await self._finish_credential(owner)
            case WEBHOOK_ENDPOINT.prefix:
                subject = subject_of(WEBHOOK_ENDPOINT, HOME, owner)
                record = await self._newest(WEBHOOK_ENDPOINT, subject)
                if record is not None and WEBHOOK_ENDPOINT.is_deleted(record):
                    return await self._destroy(owner, await self._keys.ids(owner))
                return await self._destroy_replaced(owner, subject)
            case DEPLOYMENT.prefix:
                return await self._destroy_replaced(owner, subject_of(DEPLOYMENT, HOME, owner))
            case "sesn_":
                return await self._destroy_replaced_in_session(owner)
            case _:
                return False

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
        return await self._destroy_replaced(owner, subject)

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

    async def _destroy_replaced(self, owner: str, subject: str) -> bool:
        """Destroy keys that an earlier record names and the newest does not; a key that none names may come yet."""
        newest = await self._control_log.last(subject)
        others = [] if newest is None else _not_named(newest.payload, await self._keys.ids(owner))
        if not others:
            return False
        named: set[str] = set()
        current: set[str] = set()
        async for raw in self._control_log.read(subject):  # which may by now have a newer one
            current = set(others) - set(_not_named(raw.payload, others))
            named |= current
        return await self._destroy(owner, sorted(named - current))

    async def _destroy_replaced_in_session(self, owner: str) -> bool:
        """The same for a session, whose tokens are those of the last record that names any."""
        kept = await self._keys.ids(owner)
        if len(kept) == 1:
            return False
        named: set[str] = set()
        current: set[str] = set()
        async for stored in self._session_log.read(SessionId(owner)):
            payload = stored.record.model_dump_json().encode()
            current = set(kept) - set(_not_named(payload, kept)) or current
            named |= current
        return await self._destroy(owner, sorted(named - current))

    async def _destroy(self, owner: str, key_ids: Sequence[str]) -> bool:
        for key_id in key_ids:
            await self._keys.delete(owner, key_id)
        return bool(key_ids)

    async def _newest[R: Any](self, kind: Kind[R], subject: str) -> ControlRecord[R] | None:
        raw = await self._control_log.last(subject)
        return kind.decode(raw.payload) if raw is not None else None


def _not_named(payload: bytes, key_ids: Sequence[str]) -> list[str]:
    """Keys that the record does not name; ids of keys are random enough to be found nowhere else."""
    return [key_id for key_id in key_ids if key_id.encode() not in payload]
