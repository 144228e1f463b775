"""The pytest plugin that holds every answer of the suite's gateways against the contract, and counts what was tried.

A test that let a wrong answer out fails, whatever it looked at itself. A whole run writes the coverage to
``.cache/conformance/coverage.md``, and fails when a route or event type was not tried by any test.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conformance.in_gateway import traffic_recorder
from tests.conformance.traffic import Traffic

IN_GATEWAY: Final = Path(traffic_recorder.__file__).parent
PROBLEMS_SHOWN_MAX: Final = 10
_TRAFFIC: Final = pytest.StashKey[Traffic]()
_COMPLAINTS: Final = pytest.StashKey[list[str]]()
_COVERED: Final = pytest.StashKey[dict[str, set[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where a run that is not whole may put its coverage."""
    parser.addoption("--contract-coverage", type=Path, help="write the coverage of the contract to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Record every gateway that this process or a child of it will run."""
    config.stash[_COVERED] = {}
    if _is_controller(config):
        return
    folder = Path(tempfile.mkdtemp(prefix="efferent-traffic-"))
    config.stash[_TRAFFIC] = Traffic(folder)
    os.environ[traffic_recorder.FOLDER_VARIABLE] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(IN_GATEWAY), os.environ.get("PYTHONPATH")]))
    traffic_recorder.install(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    if _TRAFFIC in config.stash:
        shutil.rmtree(config.stash[_TRAFFIC].folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Judge what was answered during the test."""
    try:
        yield
    except BaseException:
        _judged(item)
        raise
    problems = _judged(item)
    if problems:
        shown = "\n".join(dict.fromkeys(problems[:PROBLEMS_SHOWN_MAX]))
        pytest.fail(f"{len(problems)} breaches of the contract by answers during this test:\n{shown}", pytrace=False)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Hand what was tried to the process that runs the workers, or write it down."""
    config = session.config
    covered = config.stash[_COVERED]
    if hasattr(config, "workeroutput"):
        config.workeroutput["covered"] = {name: sorted(tests) for name, tests in covered.items()}
        return
    from tests.conformance import coverage

    is_whole = _is_whole(config)
    page: Path | None = config.option.contract_coverage or (coverage.PAGE if is_whole else None)
    if page is not None:
        from tests.conformance.contract import the_contract

        coverage.write(page, the_contract(), covered)
        if exitstatus == pytest.ExitCode.OK and is_whole:
            found = coverage.complaints(the_contract(), covered, coverage.not_yet())
            config.stash[_COMPLAINTS] = found
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if found else exitstatus


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a whole run did not try."""
    if found := config.stash.get(_COMPLAINTS, []):
        terminalreporter.section("coverage of the contract", red=True)
        terminalreporter.write("\n".join([*found, ""]))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take in what one worker tried."""
    covered = node.config.stash[_COVERED]
    for name, tests in getattr(node, "workeroutput", {}).get("covered", {}).items():
        covered.setdefault(name, set()).update(tests)


def _judged(item: pytest.Item) -> list[str]:
    exchanges = list(item.config.stash[_TRAFFIC].new())
    if not exchanges:
        return []
    from tests.conformance.contract import the_contract

    problems: list[str] = []
    covered = item.config.stash[_COVERED]
    for exchange in exchanges:
        verdict = the_contract().judge(exchange)
        problems += verdict.problems
        for name in (*verdict.routes, *verdict.event_types):
            covered.setdefault(name, set()).add(item.nodeid)
    return problems


def _is_controller(config: pytest.Config) -> bool:
    """Workers run the tests, this process does not."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def _is_whole(config: pytest.Config) -> bool:
    """All tests were asked for, not some of them."""
    chosen = (config.option.keyword, config.option.markexpr, config.option.lf, config.option.deselect)
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not any(chosen)
