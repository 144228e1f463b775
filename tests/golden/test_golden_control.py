"""Records of the control plane that were ever written stay readable for ever: these files never change."""

import json
from pathlib import Path
from typing import get_args

import pytest

from efferent.common.control.kinds import KINDS
from efferent.common.domain.control.aggregate import VERSION, Change, Deed

FILES = sorted((Path(__file__).parent / "control").glob("v*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_control_record_that_was_ever_written_is_read_and_written_the_same(path: Path) -> None:
    name, deed = path.stem.partition("-")[0].split(".")
    kind = KINDS[name]
    record = kind.decode(path.read_bytes())
    assert record.type == f"{name}.{deed}"
    if path.parent.name == f"v{VERSION}":
        change = Change(next(known for known in get_args(Deed) if known == deed), record.data)
        written = kind.encode(change, at=record.at, workspace_id=record.workspace_id, actor=record.actor)
        assert json.loads(written) == json.loads(path.read_text())


def test_every_kind_and_deed_has_its_golden_file() -> None:
    wanted = {f"{kind.name}.{deed}" for kind in KINDS.values() for deed in kind.deeds}
    assert wanted == {path.stem.partition("-")[0] for path in FILES if path.parent.name == f"v{VERSION}"}
