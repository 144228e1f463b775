"""Seeds that are the same in every run."""

import base64
import hashlib

from efferent.common.domain.ids import SEED_LENGTH, Seed


class CountedSeeds:
    """See the port ``IdSource``. Two sources with different names never give the same seed."""

    def __init__(self, name: str = "test") -> None:
        self._name = name
        self._count = 0

    def seed(self) -> Seed:
        """The next seed of this name."""
        self._count += 1
        digest = hashlib.sha256(f"{self._name}/{self._count}".encode()).digest()
        return Seed(base64.b32encode(digest).decode().lower()[:SEED_LENGTH])
