"""The organization's webhook endpoints as the log has them at the moment of asking."""

import asyncio
import logging
from collections.abc import Mapping

from efferent.common.control.kinds import set_pattern
from efferent.common.control.webhook_endpoints import HOME
from efferent.common.domain.control.aggregate import UnreadableRecord
from efferent.common.domain.control.webhook_endpoint import WEBHOOK_ENDPOINT
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.ports import ControlLog

_log = logging.getLogger(__name__)


class EndpointTable:
    """All endpoints. Reads only what is new in the log; those who ask at the same time share a read."""

    def __init__(self, control: ControlLog) -> None:
        self._control = control
        self._endpoints: dict[str, WebhookEndpoint] = {}
        self._position = 0
        self._reading = asyncio.Lock()
        self._read_s = float("-inf")
        """When the last read that came to its end began."""

    async def current(self) -> Mapping[str, WebhookEndpoint]:
        """Every endpoint by its id, with every change that was committed before the call. Raises LogUnavailable."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        async with self._reading:
            if self._read_s <= asked_s:
                began_s = loop.time()
                await self._read()
                self._read_s = began_s
        return self._endpoints

    async def _read(self) -> None:
        async for raw in self._control.read(set_pattern(WEBHOOK_ENDPOINT, HOME), after=self._position):
            try:
                record = WEBHOOK_ENDPOINT.decode(raw.payload)
            except UnreadableRecord as error:
                _log.error("a webhook endpoint cannot be read and gets nothing", extra={"reason": str(error)})
                self._endpoints.pop(raw.subject.rsplit(".", 1)[-1], None)
            else:
                if WEBHOOK_ENDPOINT.is_deleted(record):
                    self._endpoints.pop(record.data.id, None)
                else:
                    self._endpoints[record.data.id] = record.data
            self._position = raw.sequence
