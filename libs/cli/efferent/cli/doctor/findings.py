"""What the doctor found, one thing at a time, and how it is told. No finding ever holds a secret."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    state: State
    text: str
    remedy: str = ""
    """What to do; empty when nothing has to be done."""


Check = Callable[[], Awaitable[Sequence[Finding]]]

_MARKS: Final[dict[State, str]] = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def print_text(findings: Sequence[Finding]) -> None:
    """One line for each, and one below it for what to do."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{_MARKS[finding.state]}  {finding.check.ljust(width)}  {finding.text}")
        if finding.remedy:
            print(f"{' ' * (width + 11)}-> {finding.remedy}")


def print_json(findings: Sequence[Finding]) -> None:
    """All in one JSON object."""
    print(json.dumps({"healthy": is_healthy(findings), "findings": [asdict(each) for each in findings]}, indent=2))


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Nothing failed; warnings are no failures."""
    return all(finding.state != "failed" for finding in findings)
