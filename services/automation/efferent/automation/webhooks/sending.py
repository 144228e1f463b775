"""One attempt to deliver one webhook event: sign, send, and judge the answer. Time and size are bounded.

Nothing of the answer but its status counts; its body is not read.
"""

import logging
from dataclasses import dataclass
from typing import Final

import aiohttp
from standardwebhooks import Webhook

from efferent.common.domain import timestamp
from efferent.common.net import checked_http, endpoint_urls
from efferent.common.net.public_addresses import AddressPolicy, ForbiddenAddress
from efferent.common.ports import Clock

ATTEMPT_S: Final = 10.0
"""Longest attempt, from resolving the host to the answer's status."""
CONNECT_S: Final = 5.0
CONNECTIONS_MAX: Final = 256

_HEADERS: Final = {"content-type": "application/json", "user-agent": "Efferent-Webhooks"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Any 2xx."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Worth another attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hopeless:
    """No attempt to this endpoint can be right: it is disabled at once."""

    reason: str
    """Shown to clients as ``disabled_reason``."""


Outcome = Delivered | Failed | Hopeless


class WebhookSender:
    """Sends to public addresses, and to those that the operator listed."""

    def __init__(self, policy: AddressPolicy, clock: Clock, *, attempt_s: float = ATTEMPT_S) -> None:
        self._policy = policy
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=attempt_s, connect=CONNECT_S)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def attempt(self, url: str, secret: str, event_id: str, body: bytes) -> Outcome:
        """Sign with the time of now and send once."""
        try:
            target = endpoint_urls.parse(url, self._policy)
        except endpoint_urls.BadEndpointUrl as error:
            return Hopeless(f"The URL {error}.")
        headers = {**_HEADERS, **self._signature(secret, event_id, body)}
        try:
            async with self._opened().post(target, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
                response.close()
        except ForbiddenAddress:
            return Hopeless("The URL's host resolves to an address that is not public.")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Failed(type(error).__name__)
        return judged(status)

    def _signature(self, secret: str, event_id: str, body: bytes) -> dict[str, str]:
        """The headers of Standard Webhooks."""
        now = timestamp.to_datetime(timestamp.from_epoch_us(self._clock.now_us()))
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(event_id, now, body.decode()),
        }

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = checked_http.open_session(
                self._policy, connections_max=CONNECTIONS_MAX, timeout=self._timeout
            )
        return self._session


def judged(status: int) -> Outcome:
    """What a status means."""
    if 200 <= status < 300:
        return Delivered()
    if 300 <= status < 400:
        return Hopeless(f"The endpoint answered with a redirect (HTTP {status}).")
    return Failed(f"HTTP {status}")
