"""Points in time as the API writes them: RFC 3339 in UTC with microseconds, so that text order is time order."""

from datetime import UTC, datetime, timedelta
from typing import Final, NewType

Timestamp = NewType("Timestamp", str)

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def from_datetime(moment: datetime) -> Timestamp:
    """Write an aware datetime as a timestamp."""
    moment = moment.astimezone(UTC)
    return Timestamp(moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z")


def from_epoch_us(epoch_us: int) -> Timestamp:
    """Write microseconds since 1970 as a timestamp."""
    return from_datetime(_EPOCH + timedelta(microseconds=epoch_us))


def to_datetime(timestamp: Timestamp) -> datetime:
    """Read a timestamp as an aware datetime."""
    return datetime.fromisoformat(timestamp)


def after(timestamp: Timestamp) -> Timestamp:
    """One microsecond later."""
    return from_datetime(to_datetime(timestamp) + _MICROSECOND)


def seconds_between(start: Timestamp, end: Timestamp) -> float:
    """Seconds from start to end, never negative."""
    return max(0.0, (to_datetime(end) - to_datetime(start)).total_seconds())
