"""When a dead child is started again: at once, and later and later when it keeps dying. Pure: time comes in."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0
_AT_ONCE_S: Final = 0.1
_BACKOFF_FIRST_S: Final = 1.0
_BACKOFF_MAX_S: Final = 30.0


class RestartPolicy:
    """The deaths of one child within the last minute."""

    def __init__(self, burst: int) -> None:
        """``burst``: deaths within a minute after which the child is still started again at once."""
        self._burst = burst
        self._deaths: deque[float] = deque(maxlen=burst + 16)

    def died(self, now_s: float) -> float:
        """Note a death at this time of a monotonic clock. Returns the delay in seconds before the next start."""
        self._deaths.append(now_s)
        while self._deaths[0] < now_s - WINDOW_S:
            self._deaths.popleft()
        excess = len(self._deaths) - self._burst
        return _AT_ONCE_S if excess <= 0 else min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** (excess - 1))
