"""How much the files of a workspace may take together: uploads are counted and recorded one at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from efferent.common.domain.control.file import FILE, STORED_BYTES
from efferent.common.domain.ids import WorkspaceId, from_seed
from efferent.common.ports import Clock, IdSource, Leases
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.errors import InvalidRequest, Overloaded

LEASE_TTL_S: Final = 30
"""When the place of an upload whose gateway died is free again."""
WAIT_S: Final = 35.0
"""How long an upload waits for those before it."""
_POLL_S: Final = 0.02


class StorageRoom:
    """The room that workspaces have for files."""

    def __init__(
        self, bytes_max: int | None, projection: ControlProjection, leases: Leases, clock: Clock, ids: IdSource
    ) -> None:
        """``bytes_max``: of one workspace; None: as much as there is."""
        self._bytes_max = bytes_max
        self._projection = projection
        self._leases = leases
        self._clock = clock
        self._ids = ids

    @asynccontextmanager
    async def held(self, workspace_id: WorkspaceId, size_bytes: int) -> AsyncGenerator[None]:
        """Keep room for a file while the block records it; no other upload of the workspace is counted meanwhile.

        Raises InvalidRequest when there is no room, Overloaded, LogUnavailable.
        """
        if self._bytes_max is None:
            yield
            return
        ticket = await self._turn(workspace_id)
        try:
            await self._check(workspace_id, size_bytes, self._bytes_max)
            yield
        finally:
            await self._leases.give_up(ticket)

    async def _turn(self, workspace_id: WorkspaceId) -> int:
        deadline_s = self._clock.monotonic_s() + WAIT_S
        while True:
            holder = from_seed("req_", self._ids.seed())
            ticket = await self._leases.take(f"files-{workspace_id}", holder, ttl_s=LEASE_TTL_S)
            if ticket is not None:
                return ticket
            if self._clock.monotonic_s() >= deadline_s:
                raise Overloaded("Other uploads of the workspace take too long. Please try again.")
            await asyncio.sleep(_POLL_S)

    async def _check(self, workspace_id: WorkspaceId, size_bytes: int, bytes_max: int) -> None:
        stored_bytes = await self._projection.sum_of_facet(FILE.name, workspace_id, STORED_BYTES)
        if stored_bytes + size_bytes > bytes_max:
            raise InvalidRequest(
                f"file: the workspace's files take {stored_bytes} of {bytes_max} bytes, "
                f"and there is no room for {size_bytes} more. Delete some files first.",
                details={"error_code": "storage_quota_exceeded"},
            )
