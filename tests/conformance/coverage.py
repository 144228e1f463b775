"""Which routes and event types the suite has tried, and with which tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.contract import Contract

NOT_YET: Final = Path(__file__).with_name("not_yet.txt")
PAGE: Final = Path(__file__).parents[2] / ".cache" / "conformance" / "coverage.md"
TESTS_SHOWN_MAX: Final = 3

Covered = Mapping[str, set[str]]
"""Tests by route (the SDK's method) or event type."""


def not_yet() -> frozenset[str]:
    """Routes and event types that no test needs to try, since they do not exist yet."""
    lines = (line.partition("#")[0].strip() for line in NOT_YET.read_text().splitlines())
    return frozenset(line for line in lines if line)


def known(contract: Contract) -> list[str]:
    """Everything that wants a test."""
    methods = (route.sdk_method for route in (*contract.routes, *contract.own_routes))
    return [*methods, *contract.event_types, *contract.webhook_types]


def complaints(contract: Contract, covered: Covered, excused: frozenset[str]) -> list[str]:
    """What a whole run must not leave: something untried, or an excuse for what was tried or does not exist."""
    wanted = set(known(contract))
    untried = sorted(wanted - covered.keys() - excused)
    needless = sorted(excused & covered.keys())
    unknown = sorted(excused - wanted)
    return [
        *(f"{name}: no test has tried it with success" for name in untried),
        *(f"{name}: was tried, strike it from {NOT_YET.name}" for name in needless),
        *(f"{name}: {NOT_YET.name} excuses what the contract does not have" for name in unknown),
    ]


def page(contract: Contract, covered: Covered, excused: frozenset[str]) -> str:
    """The report: a line for each route and type of event or webhook with tests that tried it."""
    wanted = known(contract)
    tried = f"{len(covered.keys() & set(wanted))} of {len(wanted)} routes and event types were tried with success."
    lines = ["# Coverage of the contract", "", tried, ""]
    lines += ["## Routes", "", "| SDK method | route | tests |", "|---|---|---|"]
    for route in (*contract.routes, *contract.own_routes):
        tests = _tests(route.sdk_method, covered, excused)
        lines.append(f"| `{route.sdk_method}` | {route.method} `{route.path}` | {tests} |")
    for title, names in (("Event types", contract.event_types), ("Webhook types", contract.webhook_types)):
        lines += ["", f"## {title}", "", "| type | tests |", "|---|---|"]
        lines += [f"| `{name}` | {_tests(name, covered, excused)} |" for name in names]
    return "\n".join([*lines, ""])


def write(file: Path, contract: Contract, covered: Covered) -> None:
    """Write the report."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(contract, covered, not_yet()))


def _tests(name: str, covered: Covered, excused: frozenset[str]) -> str:
    tests: Sequence[str] = sorted(covered.get(name, ()))
    if not tests:
        return "not yet" if name in excused else "**none**"
    more = f" and {len(tests) - TESTS_SHOWN_MAX} more" if len(tests) > TESTS_SHOWN_MAX else ""
    return "<br>".join(tests[:TESTS_SHOWN_MAX]) + more
