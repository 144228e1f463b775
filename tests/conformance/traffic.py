"""What the gateways of one test process have answered since the last look: read from what the recorder wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.contract import Exchange

API: str = "/v1/"


class Traffic:
    """The folder of a test process; each gateway writes a file of its own there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def new(self) -> Iterator[Exchange]:
        """Answers of the API that were not told yet. A line that is still being written is told the next time."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                *whole, unfinished = file.read().split(b"\n")
                self._read[path] = file.tell() - len(unfinished)
            for line in whole:
                exchange = _exchange(json.loads(line))
                if exchange is not None:
                    yield exchange


def _exchange(told: dict[str, str]) -> Exchange | None:
    frames = told.pop("frames", None)
    if not told["path"].startswith(API) or told["method"] == "HEAD":
        return None
    if frames is None:
        return Exchange(**told)  # type: ignore[arg-type]  # the recorder's own words
    events = tuple(line.removeprefix("data:").strip() for line in frames.split("\n") if line.startswith("data:"))
    return Exchange(**told, events=events) if events else None  # type: ignore[arg-type]
