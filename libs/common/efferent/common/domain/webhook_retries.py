"""When a webhook delivery is tried again, and when an endpoint that keeps failing is disabled. Pure."""

import hashlib
from typing import Final

from efferent.common.domain.content import Shape
from efferent.common.domain.timestamp import Timestamp, seconds_between

ATTEMPTS_MAX: Final = 3
RETRY_DELAY_MIN_S: Final = 5.0
RETRY_DELAY_MAX_S: Final = 120.0

GIVEN_UP_MAX: Final = 20
"""Deliveries given up one after another, none succeeding in between, ..."""
FAILING_S: Final = 3_600.0
"""... over at least this long, disable the endpoint."""

_CEILING_FIRST_S: Final = 15.0
_GROWTH: Final = 8.0


class FailureStreak(Shape):
    """Deliveries of an endpoint that were given up since its last success."""

    given_up: int
    since: Timestamp
    """When the first of them was given up."""


def retry_delay_s(event_id: str, attempt: int) -> float:
    """Seconds between this attempt (from 1), which failed, and the next.

    The ceiling grows 8-fold from 15 s to 120 s and the delay is drawn between 5 s and the ceiling; the draw is the same
    each time it is asked for, and another one for each event.
    """
    ceiling_s = min(_CEILING_FIRST_S * _GROWTH ** (attempt - 1), RETRY_DELAY_MAX_S)
    digest = hashlib.sha256(f"{event_id}\x1f{attempt}".encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return RETRY_DELAY_MIN_S + share * (ceiling_s - RETRY_DELAY_MIN_S)


def given_up_again(streak: FailureStreak | None, now: Timestamp) -> FailureStreak:
    """The streak after one more delivery was given up."""
    if streak is None:
        return FailureStreak(given_up=1, since=now)
    return FailureStreak(given_up=streak.given_up + 1, since=streak.since)


def is_sustained(streak: FailureStreak, now: Timestamp) -> bool:
    """Whether the endpoint has failed often and long enough to be disabled."""
    return streak.given_up >= GIVEN_UP_MAX and seconds_between(streak.since, now) >= FAILING_S
