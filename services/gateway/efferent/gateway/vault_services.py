"""The running parts behind the vault routes: sealing, renewing and trying credentials, shredding what is left over."""

import asyncio
import logging
from collections.abc import Sequence

from efferent.common.control.aggregates import Aggregates
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.leases import JetStreamLeases
from efferent.common.net.checked_http import open_session
from efferent.common.net.public_addresses import AddressPolicy
from efferent.common.ports import Clock, ControlLog, IdSource, LogError, SessionLog
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.root_key import RootKey
from efferent.common.vaults.keeper import VaultKeeper
from efferent.common.vaults.leftovers import Leftovers
from efferent.common.vaults.oauth import TokenRenewer
from efferent.common.vaults.validation import CredentialProber

_log = logging.getLogger(__name__)


class VaultServices:
    """Everything that the vault routes use."""

    def __init__(
        self,
        aggregates: Aggregates,
        connection: Connection,
        control_log: ControlLog,
        session_log: SessionLog,
        roots: Sequence[RootKey],
        policy: AddressPolicy,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        keys = JetStreamDataKeys(connection)
        self._http = open_session(policy)
        self._sweep: asyncio.Task[None] | None = None
        self.box = SecretBox(keys, roots)
        self.keeper = VaultKeeper(aggregates, self.box)
        self._leftovers = Leftovers(control_log, session_log, keys, self.keeper)
        renewer = TokenRenewer(aggregates, self.keeper, JetStreamLeases(connection), self._http, clock, ids)
        self.prober = CredentialProber(self.keeper, renewer, self._http, clock)

    async def start(self) -> None:
        """Check the root key, and begin to shred what a crash left. Raises WrongRootKey, LogUnavailable."""
        await self.box.check()
        self._sweep = asyncio.create_task(self._shred(), name="shred-leftovers")

    async def stop(self) -> None:
        """Stop and close connections. Safe after a failed start."""
        task, self._sweep = self._sweep, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._http.close()

    async def _shred(self) -> None:
        try:
            await self._leftovers.finish()
        except LogError as error:
            _log.warning("leftover secrets are shredded at the next start", exc_info=error)
