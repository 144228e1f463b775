"""How often one key may ask: so many changes and so many reads a minute, each with a burst of one minute's worth.

Off unless the operator sets a limit. Every gateway counts for itself: behind a load balancer a key may ask each of them
as often as the limit says. One number per key and class is kept, the moment at which all that was asked would be paid
off (the generic cell rate algorithm), so a key that has been quiet for a minute leaves nothing behind.
"""

import math
from collections import OrderedDict
from typing import Final, Literal

from efferent.common.ports import Clock
from efferent.gateway.errors import RateLimited

KEYS_MAX: Final = 10_000
"""Keys that are counted at once, per class; of more, those that asked longest ago are forgotten."""

WINDOW_S: Final = 60.0
_ROUNDING_S: Final = 1e-6
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

RequestClass = Literal["create", "read"]


class RateLimits:
    """The counts of one gateway."""

    def __init__(
        self, clock: Clock, *, creates_per_minute: int | None, reads_per_minute: int | None, keys_max: int = KEYS_MAX
    ) -> None:
        """None: no limit for requests of this class."""
        self._clock = clock
        self._limits: dict[RequestClass, int | None] = {"create": creates_per_minute, "read": reads_per_minute}
        self._paid_off_s: dict[RequestClass, OrderedDict[str, float]] = {"create": OrderedDict(), "read": OrderedDict()}
        self._keys_max = keys_max

    @property
    def keys_counted(self) -> int:
        """Numbers that are kept now."""
        return sum(len(each) for each in self._paid_off_s.values())

    def take(self, key: str, method: str) -> None:
        """Count one request of a key. Raises RateLimited when it is one too many; it is not counted then."""
        request_class: RequestClass = "read" if method in _READS else "create"
        limit = self._limits[request_class]
        if limit is None:
            return
        now_s = self._clock.monotonic_s()
        paid_off_s = self._paid_off_s[request_class]
        after_s = max(paid_off_s.get(key, now_s), now_s) + WINDOW_S / limit
        wait_s = after_s - now_s - WINDOW_S
        if wait_s > _ROUNDING_S:
            raise RateLimited(request_class, limit, retry_after_s=max(1, math.ceil(wait_s)))
        paid_off_s[key] = after_s
        paid_off_s.move_to_end(key)
        self._forget(paid_off_s, now_s)

    def _forget(self, paid_off_s: OrderedDict[str, float], now_s: float) -> None:
        """Drop what says nothing any more, and what is too much."""
        while paid_off_s:
            key, moment_s = next(iter(paid_off_s.items()))
            if moment_s > now_s and len(paid_off_s) <= self._keys_max:
                return
            del paid_off_s[key]
