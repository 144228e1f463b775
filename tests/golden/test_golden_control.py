"""Records of the control plane that were ever written stay readable for ever: these files never change."""

import json
from pathlib import Path
from typing import get_args

import pytest

from efferent.common import api_keys, workspaces
from efferent.common.control.kinds import KINDS
from efferent.common.domain.control.aggregate import VERSION, Change, Deed
from efferent.common.ports import RawRecord

ALL_FILES = sorted((Path(__file__).parent / "control").glob("v*/*.json"))
OWN_RECORDS = {"api_key": api_keys.ApiKeyRecord, "workspace": workspaces.WorkspaceRecord}
"""What is no resource of the API and has a record of its own."""
OWN_FILES = [path for path in ALL_FILES if path.stem.partition(".")[0] in OWN_RECORDS]
FILES = [path for path in ALL_FILES if path not in OWN_FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_control_record_that_was_ever_written_is_read_and_written_the_same(path: Path) -> None:
    name, deed = path.stem.partition("-")[0].split(".")
    kind = KINDS[name]
    record = kind.decode(path.read_bytes())
    assert record.type == f"{name}.{deed}"
    if path.parent.name == f"v{VERSION}":
        change = Change(next(known for known in get_args(Deed) if known == deed), record.data)
        written = kind.encode(change, at=record.at, workspace_id=record.workspace_id, actor=record.actor)
        # The shape names the release's fields and changes with them, not with this resource.
        assert json.loads(written) | {"shape": None} == json.loads(path.read_text()) | {"shape": None}


def test_every_kind_and_deed_has_its_golden_file() -> None:
    wanted = {f"{kind.name}.{deed}" for kind in KINDS.values() for deed in kind.deeds}
    assert wanted == {path.stem.partition("-")[0] for path in FILES if path.parent.name == f"v{VERSION}"}


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_record_of_a_key_or_workspace_that_was_ever_written_is_read_and_written_the_same(path: Path) -> None:
    decode = api_keys.decode if path.stem.startswith("api_key") else workspaces.decode
    record = decode(RawRecord(1, "control.x.y", path.read_bytes(), 0))
    assert record.type == path.stem.partition("-")[0]
    assert json.loads(record.model_dump_json()) == json.loads(path.read_text())


def test_every_deed_of_keys_and_workspaces_has_its_golden_file() -> None:
    wanted = {deed for record in OWN_RECORDS.values() for deed in get_args(record.model_fields["type"].annotation)}
    assert wanted == {path.stem.partition("-")[0] for path in OWN_FILES}
