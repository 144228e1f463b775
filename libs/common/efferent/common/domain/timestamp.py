"""Points in time as the API writes them: RFC 3339 in UTC with microseconds, so that text order is time order."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NewType

Timestamp = NewType("Timestamp", str)

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH: Final = len("1970-01-01T00:00:00.000000Z")
_LAST_MICROSECOND: Final = 999_999


def from_datetime(moment: datetime) -> Timestamp:
    """Write an aware datetime as a timestamp."""
    moment = moment.astimezone(UTC)
    return Timestamp(moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z")


def from_epoch_us(epoch_us: int) -> Timestamp:
    """Write microseconds since 1970 as a timestamp."""
    seconds, microseconds = divmod(epoch_us, 1_000_000)
    return Timestamp(f"{_second(seconds)}{microseconds:06d}Z")


def to_datetime(timestamp: Timestamp) -> datetime:
    """Read a timestamp as an aware datetime."""
    return datetime.fromisoformat(timestamp)


def to_epoch_us(timestamp: Timestamp) -> int:
    """Microseconds since 1970."""
    return (to_datetime(timestamp) - _EPOCH) // _MICROSECOND


def after(timestamp: Timestamp) -> Timestamp:
    """One microsecond later."""
    if len(timestamp) == _LENGTH and (microseconds := int(timestamp[-7:-1])) < _LAST_MICROSECOND:
        return Timestamp(f"{timestamp[:-7]}{microseconds + 1:06d}Z")
    return from_datetime(to_datetime(timestamp) + _MICROSECOND)


def later(timestamp: Timestamp, seconds: float) -> Timestamp:
    """That many seconds later; earlier when negative."""
    return from_datetime(to_datetime(timestamp) + timedelta(seconds=seconds))


def seconds_between(start: Timestamp, end: Timestamp) -> float:
    """Seconds from start to end, never negative."""
    return max(0.0, (to_datetime(end) - to_datetime(start)).total_seconds())


@lru_cache(maxsize=64)
def _second(epoch_s: int) -> str:
    """A timestamp up to its decimal point. Every event of a turn asks for the same second or two."""
    return (_EPOCH + timedelta(seconds=epoch_s)).strftime("%Y-%m-%dT%H:%M:%S.")
