"""Figures, the table that shows them, and the file that keeps them. Knows nothing of how they are measured."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = ("figure", "value", "unit", "floor", "ratio", "wanted")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and what the floor measured for the same thing in the same run."""

    group: str
    name: str
    value: float
    unit: str
    floor: float | None = None
    wanted: str = ""
    """What it should reach; shown, never enforced."""

    @property
    def ratio(self) -> float | None:
        """How many times the floor; None without a floor."""
        return self.value / self.floor if self.floor else None


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that this many percent of the values do not exceed. Raises ValueError when there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(len(ordered) * percent / 100) - 1))]


def median(values: Iterable[float]) -> float:
    """The 50th percentile."""
    return percentile(values, 50)


def table(figures: Sequence[Figure]) -> str:
    """All figures as aligned text, one line each."""
    rows = [_HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines: list[str] = []
    group = ""
    for index, row in enumerate(rows):
        if index and figures[index - 1].group != group:
            group = figures[index - 1].group
            lines += ["", group]
        cells = [
            cell.ljust(width) if column in (0, 2, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def write_json(path: Path, figures: Sequence[Figure], machine: dict[str, object]) -> None:
    """Keep the figures for comparison with another run."""
    shown = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
    path.write_text(json.dumps({"machine": machine, "figures": shown}, indent=2) + "\n")


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = figure.ratio
    return (
        figure.name,
        _number(figure.value),
        figure.unit,
        "" if figure.floor is None else _number(figure.floor),
        "" if ratio is None else f"{ratio:.2f}",
        figure.wanted,
    )


def _number(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
