"""``make bench`` measures everything and shows it. How fast anything is, no test asserts."""

import asyncio
import json
import math
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import MEASURES

GROUPS = {
    "memory, just started (PSS)",
    "parts of the floor, each alone",
    "text turn: message to session.status_idle",
    "processor time of a text turn, 20 sessions at once",
    "one-tool turn (bash, warm sandbox): message to session.status_idle",
    "sessions",
    "first tool call",
    "the log",
    "projections, built again",
    "lists of sessions over HTTP",
    "readers of one busy session",
    "the largest file, uploaded to the gateway",
    "a session with a long history",
    "a server with many sessions",
    "idle readers",
    "fail-over",
    "deployments due at once",
    "memory, after everything above (PSS)",
    "text turn, once webhooks and self-hosted work follow every session",
}
DEADLINE_S = 600


@pytest.mark.timeout(DEADLINE_S + 20)
async def test_the_quick_benchmark_gives_a_complete_table(tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench", "--quick", "--json", str(results)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            shown, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, said.decode()[-4000:]
    figures = json.loads(results.read_text())["figures"]
    assert {figure["group"] for figure in figures} == GROUPS
    assert len(GROUPS) == len(MEASURES)
    for figure in figures:
        assert math.isfinite(figure["value"]), figure
        assert figure["name"] in shown.decode()
    assert any(figure["ratio"] is not None for figure in figures)
