"""Cron expressions: five POSIX fields, with steps (``*/15``) and names (``mon``, ``jan``), on any wall clock.

The rule about days is cron's: when both day-of-month and day-of-week are restricted, either of them is enough; a field
that begins with ``*`` restricts nothing by itself, so the other one must match as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

EXPRESSION_LENGTH_MAX: Final = 256

_DAY: Final = timedelta(days=1)
_YEARS_SEARCHED: Final = 48
"""A day that can match at all does so within the 40 years in which weekdays and leap days come around."""

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_WEEKDAYS: Final = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_EXTENSIONS: Final = frozenset("LW#?")
_SHOWN_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: Mapping[str, int]


_FIELDS: Final = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day-of-month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """Whether a day of the month or a day of the week is enough."""

    def matches_day(self, day: date) -> bool:
        """Whether the expression can match on this day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)

    def first_from(self, wall: datetime) -> datetime | None:
        """The first matching wall-clock minute that is not before ``wall``; None when there is none for decades."""
        if self.matches_day(wall.date()):
            if wall.hour in self.hours:
                for minute in self.minutes:
                    if minute >= wall.minute:
                        return wall.replace(minute=minute)
            for hour in self.hours:
                if hour > wall.hour:
                    return wall.replace(hour=hour, minute=self.minutes[0])
        day = self._day_after(wall.date())
        if day is None:
            return None
        return datetime(day.year, day.month, day.day, self.hours[0], self.minutes[0])  # noqa: DTZ001 - a wall clock

    def _day_after(self, day: date) -> date | None:
        last_year = min(day.year + _YEARS_SEARCHED, date.max.year - 1)
        day += _DAY
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            elif self.matches_day(day):
                return day
            else:
                day += _DAY
        return None


@lru_cache(maxsize=8_192)
def parse_cron(expression: str) -> Cron:
    """Parse an expression. Raises InvalidRequest, which says what is wrong with which field."""
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise InvalidRequest(f"a cron expression has at most {EXPRESSION_LENGTH_MAX} characters")
    if expression.strip().startswith("@"):
        raise InvalidRequest(f"cron shortcuts such as {expression.strip()[:_SHOWN_MAX]!r} are not supported")
    texts = expression.split()
    if len(texts) != len(_FIELDS):
        raise InvalidRequest(
            f"a cron expression has 5 fields (minute hour day-of-month month day-of-week), this one has {len(texts)}; "
            "fields for seconds or years are not supported"
        )
    minutes, hours, days, months, weekdays = (_values(field, text) for field, text in zip(_FIELDS, texts, strict=True))
    cron = Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekday % 7 for weekday in weekdays),
        either_day=not texts[2].startswith("*") and not texts[4].startswith("*"),
    )
    if cron.first_from(datetime(2000, 1, 1)) is None:  # noqa: DTZ001 - a wall clock
        raise InvalidRequest(f"the cron expression {expression!r} never matches: there is no such day")
    return cron


def _values(field: _Field, text: str) -> set[int]:
    """Every number that one field allows."""
    values: set[int] = set()
    for part in text.split(","):
        base, slash, step_text = part.partition("/")
        step = _step(field, step_text) if slash else 1
        low, high = _range(field, base)
        if slash and base != "*" and "-" not in base:
            high = field.high  # "5/15" begins at 5 and goes on to the end
        values.update(range(low, high + 1, step))
    return values


def _range(field: _Field, text: str) -> tuple[int, int]:
    if text == "*":
        return field.low, field.high
    first, dash, last = text.partition("-")
    low = _number(field, first)
    high = _number(field, last) if dash else low
    if low > high:
        raise _wrong(field, text, "the range begins after its end")
    return low, high


def _number(field: _Field, text: str) -> int:
    if (number := field.words.get(text.lower())) is not None:
        return number
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        extension = next((character for character in text if character in _EXTENSIONS), None)
        raise _wrong(field, text, f"{extension!r} is not supported" if extension else "it is not a number")
    if not field.low <= int(text) <= field.high:
        raise _wrong(field, text, f"numbers go from {field.low} to {field.high}")
    return int(text)


def _step(field: _Field, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4) or int(text) == 0:
        raise _wrong(field, f"/{text}", "a step is a number from 1")
    return int(text)


def _wrong(field: _Field, text: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{field.name} of the cron expression: {text[:_SHOWN_MAX]!r}: {reason}")
