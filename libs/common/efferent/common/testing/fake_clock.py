"""A clock that stands still until a test moves it."""

from typing import Final

_START_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class FakeClock:
    """See the port ``Clock``. Both readings move together."""

    def __init__(self, now_us: int = _START_US) -> None:
        self._now_us = now_us
        self._monotonic_s = 1_000.0

    def now_us(self) -> int:
        """Microseconds since 1970 in UTC."""
        return self._now_us

    def monotonic_s(self) -> float:
        """Seconds on the clock that never goes back."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move on by this many seconds."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_s += seconds
