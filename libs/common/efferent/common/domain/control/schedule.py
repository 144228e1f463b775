"""When a schedule fires: cron on the wall clock of a time zone, and the jitter of each fire.

A wall-clock time that does not exist is skipped, one that comes twice matches twice. Instants are in UTC, on whole
minutes; a *slot* is such an instant, and a deployment has at most one run per slot.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from efferent.common.domain.control.cron import Cron, parse_cron
from efferent.common.domain.refusals import InvalidRequest

UPCOMING_MAX: Final = 5
TIMEZONE_LENGTH_MAX: Final = 64

JITTER_FRACTION: Final = 0.15
JITTER_MIN_S: Final = 5.0
JITTER_MAX_S: Final = 540.0
_JITTER_SPREAD: Final = 0.9
"""Part of the window over which fires are spread; the rest is time for doing it."""

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_LEAP_MARGIN: Final = timedelta(days=3)
_END: Final = datetime(9_990, 1, 1, tzinfo=UTC)
_NOT_A_ZONE: Final = "Factory"
"""What the database says of a machine that nobody has set."""


def parse_timezone(name: str) -> ZoneInfo:
    """The zone with this IANA name. Raises InvalidRequest."""
    if name not in _zone_names():
        raise InvalidRequest(f"{name[:TIMEZONE_LENGTH_MAX]!r} is not a time zone of the IANA database")
    return _zone(name)


def occurrences(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Every instant after ``after`` at which the expression matches in the zone, in order.

    Walks along stretches of constant offset: inside one, the wall clock is plain arithmetic. A far match is leapt to:
    no clock is ever put back by as much as ``_LEAP_MARGIN``, so nothing before it can match once that has passed.
    """
    moment = _minute_after(after)
    while moment < _END:
        offset = moment.astimezone(zone).utcoffset() or timedelta()
        match = cron.first_from((moment + offset).replace(tzinfo=None))
        if match is None:
            return
        instant = match.replace(tzinfo=UTC) - offset
        is_far = instant - moment > 2 * _LEAP_MARGIN
        change = _offset_change(zone, moment, moment + _LEAP_MARGIN if is_far else instant, offset)
        if change is not None:
            moment = change  # what would have matched from here on is read from the wall clock anew
        elif is_far:
            moment = instant - _LEAP_MARGIN
        else:
            yield instant
            moment = instant + _MINUTE


def next_slot(expression: str, timezone: str, after: datetime) -> datetime | None:
    """The first slot after ``after``. Raises InvalidRequest."""
    return next(occurrences(parse_cron(expression), parse_timezone(timezone), after), None)


@lru_cache(maxsize=4_096)
def upcoming(expression: str, timezone: str, after: datetime, count: int = UPCOMING_MAX) -> tuple[datetime, ...]:
    """The next slots after ``after``, remembered: the same in all of a minute. Raises InvalidRequest."""
    return tuple(islice(occurrences(parse_cron(expression), parse_timezone(timezone), after), count))


def jitter_window_s(slot: datetime, following: datetime | None) -> float:
    """How long after its slot a fire may start: 15 % of the time to the next slot, from 5 s to 9 minutes."""
    interval_s = (following - slot).total_seconds() if following is not None else JITTER_MAX_S / JITTER_FRACTION
    return min(max(interval_s * JITTER_FRACTION, JITTER_MIN_S), JITTER_MAX_S)


def jitter_s(deployment_id: str, slot: datetime, window_s: float) -> float:
    """How long after its slot this deployment fires: the same for everyone who asks, spread over the window."""
    digest = hashlib.sha256(f"{deployment_id}\x1f{slot.timestamp():.0f}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * window_s * _JITTER_SPREAD


@cache
def _zone_names() -> frozenset[str]:
    """The names of the database that this program brings along: all replicas have the same, whatever machines have."""
    return frozenset((resources.files("tzdata") / "zones").read_text("utf-8").split()) - {_NOT_A_ZONE}


@cache
def _zone(name: str) -> ZoneInfo:
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _minute_after(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE


def _offset_change(zone: ZoneInfo, start: datetime, end: datetime, offset: timedelta) -> datetime | None:
    """The first minute in (start, end] at which the zone's offset is another; None when it is the same throughout.

    Looks once a day: no zone changes its offset twice within one.
    """
    while start < end:
        probe = min(start + _DAY, end)
        if probe.astimezone(zone).utcoffset() != offset:
            return _bisect(zone, start, probe, offset)
        start = probe
    return None


def _bisect(zone: ZoneInfo, same: datetime, other: datetime, offset: timedelta) -> datetime:
    """The first minute with another offset, which ``other`` has and ``same`` has not."""
    while (minutes := (other - same) // _MINUTE) > 1:
        middle = same + minutes // 2 * _MINUTE
        if middle.astimezone(zone).utcoffset() == offset:
            same = middle
        else:
            other = middle
    return other
