"""Timestamps are written by hand where it counts; they say what ``datetime`` would say."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.timestamp import (
    Timestamp,
    after,
    from_datetime,
    from_epoch_us,
    seconds_between,
    to_datetime,
)

MOMENTS_US = st.integers(min_value=0, max_value=4_102_444_800_000_000)


@given(MOMENTS_US)
def test_a_moment_is_written_as_datetime_writes_it(moment_us: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    assert from_epoch_us(moment_us) == from_datetime(moment)
    assert to_datetime(from_epoch_us(moment_us)) == moment


@given(MOMENTS_US)
def test_text_order_is_time_order(moment_us: int) -> None:
    now = from_epoch_us(moment_us)
    assert now < after(now) == from_epoch_us(moment_us + 1)


@pytest.mark.parametrize(
    ("moment", "next_moment"),
    [
        ("2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00.000000Z"),
        ("2026-12-31T23:59:59.000009Z", "2026-12-31T23:59:59.000010Z"),
        ("2026-12-31T23:59:59Z", "2026-12-31T23:59:59.000001Z"),
    ],
)
def test_one_microsecond_later_carries_over(moment: str, next_moment: str) -> None:
    assert after(Timestamp(moment)) == next_moment


def test_time_between_is_never_negative() -> None:
    early, late = from_epoch_us(1_000_000), from_epoch_us(3_500_000)
    assert seconds_between(early, late) == 2.5
    assert seconds_between(late, early) == 0.0
