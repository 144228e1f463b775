"""Metrics in Prometheus' text format: every name is declared here, once, with what it counts.

A service makes one ``Metrics`` and passes it down. Label values come from small closed sets (methods, route patterns,
statuses), never from clients; ``SERIES_MAX`` bounds them all the same.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

SERIES_MAX: Final = 2_000
"""Label combinations of one metric; further ones are counted under ``other``."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

type LabelValues = tuple[str, ...]


class Counter:
    """A number that only grows."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self._values: dict[LabelValues, float] = {}

    def add(self, *values: str, amount: float = 1) -> None:
        """Count once more for these label values."""
        key = _series(self._values, values, len(self.labels))
        self._values[key] = self._values.get(key, 0) + amount

    def lines(self) -> Iterator[str]:
        """The metric as text."""
        yield from _head(self.name, self.help_text, "counter")
        for values, value in self._values.items():
            yield f"{self.name}{_braces(self.labels, values)} {value:g}"


class Gauge:
    """A number that goes up and down."""

    def __init__(self, name: str, help_text: str) -> None:
        self.name, self.help_text = name, help_text
        self.value: float = 0

    def lines(self) -> Iterator[str]:
        """The metric as text."""
        yield from _head(self.name, self.help_text, "gauge")
        yield f"{self.name} {self.value:g}"


class Histogram:
    """How values are spread, in seconds."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self._counts: dict[LabelValues, list[int]] = {}
        self._sums: dict[LabelValues, float] = {}

    def observe(self, seconds: float, *values: str) -> None:
        """Take in one value for these label values."""
        key = _series(self._counts, values, len(self.labels))
        counts = self._counts.setdefault(key, [0] * (len(_SECONDS) + 1))
        counts[bisect_left(_SECONDS, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0) + seconds

    def lines(self) -> Iterator[str]:
        """The metric as text."""
        yield from _head(self.name, self.help_text, "histogram")
        for values, counts in self._counts.items():
            total = 0
            for bound, count in zip((*(f"{edge:g}" for edge in _SECONDS), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket{_braces((*self.labels, 'le'), (*values, bound))} {total}"
            yield f"{self.name}_sum{_braces(self.labels, values)} {self._sums[values]:g}"
            yield f"{self.name}_count{_braces(self.labels, values)} {total}"


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        self.requests = Counter("efferent_http_requests_total", "Answered requests.", ("method", "route", "status"))
        self.request_seconds = Histogram(
            "efferent_http_request_seconds", "Time from a request's head to the end of its answer.", ("route",)
        )
        self.requests_open = Gauge("efferent_http_requests_open", "Requests that are being served, streams included.")
        self.records_unreadable = Counter(
            "efferent_records_unreadable_total", "Records of a shape that this release does not know.", ("stream",)
        )
        self.control_applied = Gauge("efferent_control_applied_sequence", "Last sequence of CONTROL that was applied.")
        self.sessions_applied = Gauge(
            "efferent_sessions_applied_sequence", "Last sequence of SESSIONS that was applied."
        )
        self.write_conflicts = Counter(
            "efferent_write_conflicts_total", "Changes decided again because another came first.", ("kind",)
        )

    def text(self) -> str:
        """Everything as Prometheus reads it."""
        metrics = [metric for metric in vars(self).values() if isinstance(metric, Counter | Gauge | Histogram)]
        return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def _series(known: Mapping[LabelValues, object], values: LabelValues, width: int) -> LabelValues:
    if len(values) != width:
        raise ValueError(f"{width} label values are needed, not {len(values)}")
    return values if values in known or len(known) < SERIES_MAX else ("other",) * width


def _head(name: str, help_text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
