"""Schedules against an oracle that looks at every minute, and each refusal of an expression."""

import contextlib
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.control.cron import Cron, parse_cron
from efferent.common.domain.control.schedule import (
    JITTER_MAX_S,
    JITTER_MIN_S,
    jitter_s,
    jitter_window_s,
    next_slot,
    occurrences,
    parse_timezone,
    upcoming,
)
from efferent.common.domain.refusals import InvalidRequest

MINUTE: Final = timedelta(minutes=1)
TRANSITIONS: Final = {
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    "America/Havana": (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)),
    "America/St_Johns": (datetime(2010, 3, 14, 3, 31, tzinfo=UTC), datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),
    "Pacific/Apia": (datetime(2011, 12, 30, 10, tzinfo=UTC),),
    "Africa/Casablanca": (datetime(2026, 2, 15, 2, tzinfo=UTC), datetime(2026, 3, 22, 2, tzinfo=UTC)),
    "Asia/Kathmandu": (datetime(2026, 1, 1, tzinfo=UTC),),
    "UTC": (datetime(2027, 12, 31, 23, tzinfo=UTC),),
}
"""Zones and moments around which their clocks change (or do not)."""


def by_hand(cron: Cron, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """The oracle: every minute whose wall clock shows a match."""
    found, moment = [], after.replace(second=0, microsecond=0) + MINUTE
    while moment < until:
        wall = moment.astimezone(zone)
        if wall.minute in cron.minutes and wall.hour in cron.hours and cron.matches_day(wall.date()):
            found.append(moment)
        moment += MINUTE
    return found


def listed(low: int, high: int) -> st.SearchStrategy[str]:
    """One field: stars, numbers, ranges, steps and lists of them."""
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.builds(lambda base, step: f"{base}/{step}", st.one_of(st.just("*"), ranges), st.integers(1, 30))
    part = st.one_of(number.map(str), ranges, steps)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS: Final = st.tuples(
    listed(0, 59), listed(0, 23), st.one_of(st.just("*"), listed(1, 31)), st.just("*"), listed(0, 7)
).map(" ".join)


@given(
    EXPRESSIONS,
    st.sampled_from([(zone, moment) for zone, moments in TRANSITIONS.items() for moment in moments]),
    st.integers(-26 * 60, 26 * 60),
)
def test_occurrences_are_those_that_a_look_at_every_minute_finds(
    expression: str, change: tuple[str, datetime], offset_min: int
) -> None:
    try:
        cron = parse_cron(expression)
    except InvalidRequest:
        return  # no such day
    zone, start = parse_timezone(change[0]), change[1] + offset_min * MINUTE
    until = start + timedelta(hours=30)
    found = []
    for instant in occurrences(cron, zone, start):
        if instant >= until:
            break
        found.append(instant)
    assert found == by_hand(cron, zone, start, until)


def by_wall_clock(cron: Cron, zone: ZoneInfo, after: datetime, days: int) -> list[datetime]:
    """Another oracle, for far matches: every matching wall-clock time, as the instants that show it."""
    found = set()
    first = after.astimezone(zone).date() - timedelta(days=2)
    for day in (first + timedelta(days=number) for number in range(days)):
        if not cron.matches_day(day):
            continue
        for hour in cron.hours:
            for minute in cron.minutes:
                for fold in (0, 1):
                    wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold)
                    instant = wall.astimezone(UTC)
                    if instant > after and instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
                        found.add(instant)
    return sorted(found)


@given(
    st.tuples(
        st.sampled_from(["0", "30", "15,45"]), st.sampled_from(["0", "1", "2", "1-3", "23"]),
        st.sampled_from(["*", "1", "8", "25-31", "29"]), st.sampled_from(["3", "10", "11", "2", "3,10,11", "*"]),
        st.sampled_from(["*", "0", "*/7", "6"]),
    ).map(" ".join),
    st.sampled_from(sorted(TRANSITIONS)),
    st.integers(0, 2_000),
)  # fmt: skip
def test_matches_that_are_months_away_are_found_across_every_change_of_the_clock(
    expression: str, zone_name: str, day: int
) -> None:
    cron, zone, after = parse_cron(expression), parse_timezone(zone_name), datetime(2009, 1, 1, tzinfo=UTC)
    after += timedelta(days=day, minutes=7 * day)
    expected = by_wall_clock(cron, zone, after, days=1_500)[:12]
    assert list(islice(occurrences(cron, zone, after), len(expected))) == expected


def test_the_rarest_schedules_are_cheap() -> None:
    """A list shows a hundred of them at once, and whoever makes them chooses what they are."""
    started_s = time.process_time()
    for minute in range(50):
        assert len(upcoming(f"{minute} 0 29 2 */7", "America/New_York", datetime(2026, 1, 1, tzinfo=UTC))) == 5
    assert time.process_time() - started_s < 2


def iso(expression: str, timezone: str, after: datetime, count: int = 2) -> list[str]:
    return [moment.strftime("%Y-%m-%dT%H:%MZ") for moment in upcoming(expression, timezone, after, count)]


def test_a_time_that_does_not_exist_is_skipped() -> None:
    before = datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert iso("30 2 * * *", "America/New_York", before) == ["2026-03-09T06:30Z", "2026-03-10T06:30Z"]


def test_a_time_that_comes_twice_matches_twice() -> None:
    before = datetime(2026, 10, 31, 12, tzinfo=UTC)
    assert iso("30 1 * * *", "America/New_York", before) == ["2026-11-01T05:30Z", "2026-11-01T06:30Z"]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 9 * * 1-5", "2026-01-01T09:00Z"),
        ("0 9 * * mon-FRI", "2026-01-01T09:00Z"),
        ("0 0 * * 0", "2026-01-04T00:00Z"),
        ("0 0 * * 7", "2026-01-04T00:00Z"),
        ("0 0 * * 5-7", "2026-01-02T00:00Z"),
        ("*/15 * * * *", "2026-01-01T00:15Z"),
        ("5/20 * * * *", "2026-01-01T00:05Z"),
        ("0 12 13 * 5", "2026-01-02T12:00Z"),  # either: Friday comes before the 13th
        ("0 12 */13 * 5", "2026-02-27T12:00Z"),  # both: the 1st, 14th or 27th that is a Friday
        ("0 0 29 2 *", "2028-02-29T00:00Z"),
        ("0 0 1 jan *", "2027-01-01T00:00Z"),
        ("59 23 31 12 *", "2026-12-31T23:59Z"),
    ],
)
def test_expressions_mean_what_cron_says(expression: str, first: str) -> None:
    assert iso(expression, "UTC", datetime(2026, 1, 1, tzinfo=UTC), 1) == [first]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "has 0"),
        ("* * * *", "has 4"),
        ("0 * * * * *", "has 6"),
        ("0 0 0 1 1 ? 2027", "has 7"),
        ("@daily", "'@daily' are not supported"),
        (" @every 1m", "not supported"),
        ("60 * * * *", "minute of the cron expression: '60': numbers go from 0 to 59"),
        ("* 24 * * *", "hour of the cron expression: '24'"),
        ("* * 0 * *", "day-of-month of the cron expression: '0': numbers go from 1 to 31"),
        ("* * 32 * *", "day-of-month"),
        ("* * * 13 *", "month of the cron expression: '13'"),
        ("* * * * 8", "day-of-week of the cron expression: '8': numbers go from 0 to 7"),
        ("* * L * *", "day-of-month of the cron expression: 'L': 'L' is not supported"),
        ("* * 15W * *", "'W' is not supported"),
        ("* * * * 5#2", "'#' is not supported"),
        ("* * ? * *", "'?' is not supported"),
        ("*/0 * * * *", "a step is a number from 1"),
        ("*/x * * * *", "a step is a number from 1"),
        ("5-1 * * * *", "the range begins after its end"),
        ("* * * * sat-mon", "the range begins after its end"),
        ("1,,2 * * * *", "it is not a number"),
        ("-1 * * * *", "it is not a number"),
        ("1.5 * * * *", "it is not a number"),
        ("mon * * * *", "it is not a number"),
        ("\u0661 * * * *", "it is not a number"),
        ("0 0 30 2 *", "never matches"),
        ("0 0 31 4,6,9,11 *", "never matches"),
        ("* " * 200, "at most 256 characters"),
    ],
)
def test_a_wrong_expression_is_refused_by_name(expression: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_cron(expression)
    assert problem in refused.value.message


@pytest.mark.parametrize(
    "name",
    [
        "", "Mars/Olympus", "America", "america/new_york", "../etc/passwd", "/etc/localtime", "UTC\0", "posix/UTC",
        "localtime", "Europe/Zürich", "X" * 300,
    ],
)  # fmt: skip
def test_a_zone_that_is_not_ianas_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_timezone(name)
    assert "is not a time zone of the IANA database" in refused.value.message


@given(st.text(max_size=40))
def test_no_expression_and_no_zone_raises_anything_else(text: str) -> None:
    for parse in (parse_cron, parse_timezone):
        with contextlib.suppress(InvalidRequest):
            parse(text)


@given(st.text("abc012", min_size=1), st.integers(0, 10**6), st.floats(60, 10**7))
def test_jitter_is_the_same_for_all_and_inside_its_window(name: str, minute: int, interval_s: float) -> None:
    slot = datetime(2026, 1, 1, tzinfo=UTC) + minute * MINUTE
    window_s = jitter_window_s(slot, slot + timedelta(seconds=interval_s))
    assert JITTER_MIN_S <= window_s <= JITTER_MAX_S
    assert window_s <= max(0.15 * interval_s, JITTER_MIN_S) + 1e-6
    assert 0 <= jitter_s(name, slot, window_s) < window_s
    assert jitter_s(name, slot, window_s) == jitter_s(name, slot, window_s)


def test_a_slot_is_never_the_moment_that_was_asked_from() -> None:
    moment = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
    assert next_slot("0 9 * * *", "UTC", moment) == moment + timedelta(days=1)
    assert next_slot("0 9 * * *", "UTC", moment - timedelta(seconds=1)) == moment
