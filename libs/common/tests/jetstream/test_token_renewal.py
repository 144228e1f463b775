"""Renewing tokens: whoever has the turn gives it up, however that ends."""

from typing import Any, cast

import pytest

from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.ids import CredentialId, VaultId, WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.vault import StaticBearerAuth, StoredCredential
from efferent.common.domain.timestamp import from_epoch_us
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.leases import JetStreamLeases
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.vaults.oauth import TokenRenewer

UNUSED = cast("Any", None)


async def test_a_renewal_of_a_credential_that_is_gone_keeps_nobody_waiting(connection: Connection) -> None:
    control_log, clock, leases = JetStreamControlLog(connection), SystemClock(), JetStreamLeases(connection)
    aggregates = Aggregates(control_log, LogSets(control_log), clock, Metrics(), write_deadline_s=5)
    renewer = TokenRenewer(aggregates, UNUSED, leases, UNUSED, clock, RandomSeeds())
    now = from_epoch_us(clock.now_us())
    gone = StoredCredential(
        id=CredentialId("vcrd_1"),
        vault_id=VaultId("vlt_1"),
        auth=StaticBearerAuth(mcp_server_url="https://example.com"),
        created_at=now,
        updated_at=now,
    )
    with pytest.raises(NotFound):
        await renewer.renew(gone, WorkspaceId("wrkspc_1"))
    assert await leases.take(f"renewal-{gone.id}", "next", ttl_s=30) is not None
