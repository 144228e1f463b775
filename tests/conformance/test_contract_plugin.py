"""The plugin in runs of its own: a wrong answer fails its test, and a whole run fails for what nobody tried."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conformance import coverage
from tests.conformance.contract import the_contract

ROOT: Final = Path(__file__).parents[2]
RUN_WITHIN_S: Final = 150.0
SUITE: Final = """
import json, os
from pathlib import Path

def say(**told):
    told = {"method": "GET", "beta": "", "content_type": "application/json", **told}
    with (Path(os.environ["EFFERENT_TESTS_TRAFFIC"]) / "said.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\\n")

HEADERS = {"request-id": "req_1", "anthropic-organization-id": "o", "anthropic-workspace-id": "w"}

def test_lists():
    say(path="/v1/agents", status=200, headers=HEADERS, body='{"data": [], "next_page": null}')

def test_says_something_else():
    say(path="/v1/agents", status=200, headers=HEADERS, body=os.environ["OTHER_BODY"])
"""


def run(folder: Path, *options: str, other_body: object) -> tuple[int, str, str]:
    """A run over a suite of two tests: its exit code, what it said, and its page."""
    (folder / "suite").mkdir()
    (folder / "suite" / "test_agents_only.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = suite\n")
    page = folder / "page.md"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OTHER_BODY": json.dumps(other_body)}
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conformance.plugin", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, "--contract-coverage", str(page)],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, page.read_text()


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "workers"])
def test_a_whole_run_fails_for_each_route_and_type_that_no_test_tried(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, said, page = run(tmp_path, *options, other_body={"data": [], "next_page": None})
    assert (code, "2 passed" in said) == (1, True), said
    untried = [name for name in coverage.known(the_contract()) if name not in coverage.not_yet()]
    untried.remove("beta.agents.list")
    missing = [name for name in untried if f"{name}: no test has tried it with success" not in said]
    assert missing == []
    assert "beta.agents.list:" not in said
    assert (
        "| `beta.agents.list` | GET `/v1/agents` | suite/test_agents_only.py::test_lists<br>"
        "suite/test_agents_only.py::test_says_something_else |" in page
    )
    assert "| `beta.agents.create` | POST `/v1/agents` | **none** |" in page


def test_a_part_of_the_tests_may_leave_out_what_it_likes(tmp_path: Path) -> None:
    code, said, _ = run(tmp_path, "-k", "lists", other_body={"data": [], "next_page": None})
    assert (code, "1 passed" in said) == (0, True), said


def test_a_test_fails_for_a_wrong_answer_that_it_did_not_look_at(tmp_path: Path) -> None:
    code, said, _ = run(tmp_path, "-p", "xdist", "-n", "2", other_body={"data": []})
    assert (code, "1 failed, 1 passed" in said) == (1, True), said
    assert 'GET /v1/agents -> 200: body: "next_page" is a required property (required)' in said
