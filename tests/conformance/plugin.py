"""The pytest plugin that holds every answer of the suite's gateways against the contract, and counts what was tried.

A test that let a wrong answer or webhook out fails, whatever it looked at itself. A whole run writes the coverage to
``.cache/conformance/coverage.md``, and fails when a route or event type was not tried by any test. Only tests that know
what they ask for count: a route that random requests alone have met has no test.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conformance.in_gateway import traffic_recorder
from tests.conformance.traffic import Traffic, Webhook

IN_GATEWAY: Final = Path(traffic_recorder.__file__).parent
PROBLEMS_SHOWN_MAX: Final = 10
AT_RANDOM: Final = ("test_openapi_fuzz.py", "test_resources_random.py", "test_work_random.py")
"""Files whose tests do not choose what they ask for."""
_TRAFFIC: Final = pytest.StashKey[Traffic]()
_CHOOSING: Final = ("keyword", "markexpr", "lf", "stepwise", "deselect", "ignore", "ignore_glob")
_PAGE: Final = pytest.StashKey[Path]()
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
    """Judge what was answered during the test, and while it was set up."""
    yield from _judging(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Judge what was answered afterwards: fixtures ask too."""
    yield from _judging(item)


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
        config.stash[_PAGE] = page
        if exitstatus == pytest.ExitCode.OK and is_whole:
            found = coverage.complaints(the_contract(), covered, coverage.not_yet())
            config.stash[_COMPLAINTS] = found
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if found else exitstatus


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a whole run did not try, and where the report is."""
    if page := config.stash.get(_PAGE, None):
        terminalreporter.write_line(f"coverage of the contract: {page}")
    if found := config.stash.get(_COMPLAINTS, []):
        terminalreporter.section("coverage of the contract", red=True)
        terminalreporter.write("\n".join([*found, ""]))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take in what one worker tried."""
    covered = node.config.stash[_COVERED]
    for name, tests in getattr(node, "workeroutput", {}).get("covered", {}).items():
        covered.setdefault(name, set()).update(tests)


def _judging(item: pytest.Item) -> Generator[None]:
    """Lets a part of a test run. Fails it when it went well and an answer did not."""
    try:
        yield
    except BaseException:
        _judged(item)
        raise
    problems = _judged(item)
    if problems:
        shown = "\n".join(dict.fromkeys(problems[:PROBLEMS_SHOWN_MAX]))
        pytest.fail(f"{len(problems)} breaches of the contract by answers during this test:\n{shown}", pytrace=False)


def _judged(item: pytest.Item) -> list[str]:
    seen = list(item.config.stash[_TRAFFIC].new())
    if not seen:
        return []
    from tests.conformance.contract import the_contract

    problems: list[str] = []
    covered = item.config.stash[_COVERED]
    for each in seen:
        contract = the_contract()
        verdict = contract.judge_webhook(each.body) if isinstance(each, Webhook) else contract.judge(each)
        problems += verdict.problems
        if item.path.name not in AT_RANDOM:
            for name in (*verdict.routes, *verdict.event_types):
                covered.setdefault(name, set()).add(item.nodeid)
    return problems


def _is_controller(config: pytest.Config) -> bool:
    """Workers run the tests, this process does not."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def _is_whole(config: pytest.Config) -> bool:
    """All tests were asked for, not some of them."""
    chosen = (getattr(config.option, name, None) for name in _CHOOSING)
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not any(chosen)
