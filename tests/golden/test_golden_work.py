"""Work items that were ever written stay readable for ever: these files never change."""

import json
from pathlib import Path
from typing import get_args

import pytest

from efferent.common.domain.resources.work import WorkState
from efferent.common.jetstream import work_log
from efferent.common.ports import RawRecord

FILES = sorted((Path(__file__).parent / "work").glob("v*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_work_item_that_was_ever_written_is_read_and_written_the_same(path: Path) -> None:
    item = work_log.decode(RawRecord(1, "work.e.s.w", path.read_bytes(), 0)).item
    assert item.state == path.stem.partition("-")[0]
    written = json.loads(path.read_text())
    added_since = {"own_ttl_s": None} if "-without_" in path.stem else {}
    assert json.loads(item.model_dump_json()) == added_since | written


def test_every_state_has_its_golden_file() -> None:
    assert {path.stem.partition("-")[0] for path in FILES} == set(get_args(WorkState))
