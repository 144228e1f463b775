"""What a test process has seen since the last look: its gateways' answers, and webhooks that reached a receiver."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conformance.contract import Exchange
from tests.conformance.in_gateway.traffic_recorder import FOLDER_VARIABLE

API: Final = "/v1/"
WEBHOOKS: Final = "webhooks.jsonl"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One delivery as it was received."""

    body: str


def note_webhook(body: str) -> None:
    """Have a delivery judged with the test that is running."""
    with (Path(os.environ[FOLDER_VARIABLE]) / WEBHOOKS).open("a") as file:
        file.write(json.dumps({"webhook": body}) + "\n")


class Traffic:
    """The folder of a test process; each gateway writes a file of its own there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def new(self) -> Iterator[Exchange | Webhook]:
        """What was not told yet. A line that is still being written is told the next time."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                *whole, unfinished = file.read().split(b"\n")
                self._read[path] = file.tell() - len(unfinished)
            for line in whole:
                told = json.loads(line)
                seen = Webhook(told["webhook"]) if "webhook" in told else _exchange(told)
                if seen is not None:
                    yield seen


def _exchange(told: dict[str, Any]) -> Exchange | None:
    """None for what is not the API's: other paths, answers without a body by nature, comments of a stream."""
    frames = told.pop("frames", None)
    if not told["path"].startswith(API) or told["method"] == "HEAD":
        return None
    if frames is None:
        return Exchange(**told)
    events = tuple(line.removeprefix("data:").strip() for line in frames.split("\n") if line.startswith("data:"))
    return Exchange(**told, events=events) if events else None
