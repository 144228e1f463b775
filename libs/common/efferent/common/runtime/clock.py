"""The real clock and the real source of randomness for ids."""

import base64
import secrets
import time
from typing import Final

from efferent.common.domain.ids import SEED_LENGTH, Seed

_BYTES_PER_SEED: Final = SEED_LENGTH * 5 // 8


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970 in UTC."""
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()


class RandomSeeds:
    """Seeds from the operating system's randomness."""

    def seed(self) -> Seed:
        """A fresh seed of ``SEED_LENGTH`` lower-case base32 characters."""
        return Seed(base64.b32encode(secrets.token_bytes(_BYTES_PER_SEED)).decode().lower())
