"""The gateway as the command starts it: with the operator's API key known before the first request."""

import logging
from typing import Final

from efferent.cli.log_access import control_log
from efferent.common import api_keys
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.service import Service
from efferent.common.runtime.settings import NatsSettings

_KEY_NAME: Final = "EFFERENT_API_KEY"
_log = logging.getLogger(__name__)


class KeyedGateway:
    """A gateway that first makes one key known in the log."""

    def __init__(self, gateway: Service, key: str, *, nats: NatsSettings, replicas: int) -> None:
        self._gateway = gateway
        self._replicas = replicas
        self._nats = nats
        self._key = key

    async def start(self) -> None:
        """Record the key's hash unless it is there, then start the gateway. Raises LogUnavailable, UnusableKey."""
        async with control_log(self._nats, replicas=self._replicas) as log:
            known = await api_keys.ensure_key(log, self._key, name=_KEY_NAME, clock=SystemClock())
        if known.revoked_at is not None:
            _log.warning("EFFERENT_API_KEY holds a key that was revoked: it stays refused", extra={"key_id": known.id})
        await self._gateway.start()

    async def drain(self) -> None:
        """As the gateway."""
        await self._gateway.drain()

    async def stop(self) -> None:
        """As the gateway."""
        await self._gateway.stop()
