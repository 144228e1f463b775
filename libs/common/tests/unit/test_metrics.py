"""Metrics in Prometheus' text format."""

import pytest

from efferent.common.runtime import metrics
from efferent.common.runtime.metrics import Counter, Gauge, Histogram, Metrics


def test_a_counter_writes_a_line_per_series_with_escaped_values() -> None:
    counter = Counter("c_total", "Help.", ("label",))
    counter.add("a")
    counter.add("a", amount=2)
    counter.add('quote " back \\ line \n')
    assert list(counter.lines()) == [
        "# HELP c_total Help.",
        "# TYPE c_total counter",
        'c_total{label="a"} 3',
        'c_total{label="quote \\" back \\\\ line \\n"} 1',
    ]


def test_a_gauge_writes_its_value() -> None:
    gauge = Gauge("g", "Help.")
    gauge.value = 7
    assert list(gauge.lines())[-1] == "g 7"


def test_a_histogram_counts_each_value_in_every_bucket_that_holds_it() -> None:
    histogram = Histogram("h", "Help.")
    for seconds in (0.001, 0.2, 100):
        histogram.observe(seconds)
    lines = list(histogram.lines())
    assert 'h_bucket{le="0.001"} 1' in lines
    assert 'h_bucket{le="0.25"} 2' in lines
    assert 'h_bucket{le="10"} 2' in lines
    assert 'h_bucket{le="+Inf"} 3' in lines
    assert lines[-2:] == ["h_sum 100.201", "h_count 3"]


def test_series_are_bounded() -> None:
    counter = Counter("c_total", "Help.", ("label",))
    for index in range(metrics.SERIES_MAX + 5):
        counter.add(str(index))
    lines = list(counter.lines())
    assert len(lines) == 2 + metrics.SERIES_MAX + 1
    assert lines[-1] == 'c_total{label="other"} 5'


def test_a_wrong_number_of_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 label values"):
        Counter("c_total", "Help.", ("label",)).add()


def test_every_name_is_declared_once_and_in_the_projects_namespace() -> None:
    names = [line.split()[2] for line in Metrics().text().splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names)) > 0
    assert all(name.startswith("efferent_") for name in names)
