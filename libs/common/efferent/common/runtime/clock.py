"""The real clock and the real source of randomness for ids."""

import os
import string
import time
from typing import Final

from efferent.common.domain.ids import SEED_LENGTH, Seed

_ALPHABET: Final = (string.ascii_lowercase + "234567").encode()
_LETTER_OF_BYTE: Final = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))
"""32 letters divide 256 bytes evenly: each letter is as likely as any other."""


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
        return Seed(os.urandom(SEED_LENGTH).translate(_LETTER_OF_BYTE).decode())
