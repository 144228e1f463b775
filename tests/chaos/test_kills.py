"""Sixty randomised kills at every step of turns; the seed is printed, and a longer run is ``make chaos``."""

from pathlib import Path

import pytest

from tests.chaos.storm import Storm, plan
from tests.chaos.weather import storm_server
from tests.support.efferent_server import scripted_model

KILLS = 30


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "more_brains"), [(20261121, 0), (987654321, 1)])
async def test_nothing_is_lost_or_done_twice_whatever_is_killed_when(
    tmp_path: Path, seed: int, more_brains: int
) -> None:
    with scripted_model() as url, storm_server(tmp_path, url, more_brains=more_brains) as server:
        storm = Storm(server, url, seed)
        report = await storm.run(plan(KILLS, storm.dice))
    print(report)
    assert report.problems == [], str(report)
    assert sum(report.kills.values()) == KILLS
    assert report.turns > 0
