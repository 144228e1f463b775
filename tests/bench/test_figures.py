"""How figures are computed and shown."""

import pytest

from tests.bench.figures import Figure, median, percentile, table


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert median(values) == 3.0
    assert percentile(values, 95) == 5.0
    assert percentile(values, 1) == 1.0
    assert percentile([7.0], 50) == 7.0
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_a_figure_is_shown_with_its_floor_and_its_ratio() -> None:
    lines = table([Figure("turns", "p50", 6.0, "ms", 2.0, "<= 3"), Figure("memory", "all", 1234.5, "MB")]).splitlines()
    assert lines[0].split() == ["figure", "value", "unit", "floor", "ratio", "wanted"]
    assert "turns" in lines
    assert next(line.split() for line in lines if "p50" in line) == ["p50", "6.00", "ms", "2.00", "3.00", "<=", "3"]
    assert next(line.split() for line in lines if "all" in line) == ["all", "1,234", "MB"]
