"""Lean reading of control records: rows as those of decoding the whole, and the whole where the shape is another."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from efferent.common.control.kinds import KINDS, subject_of
from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.aggregate import Change, Deed, Kind, UnreadableRecord
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.control.file import FILE
from efferent.common.ports import RawRecord
from efferent.gateway.control import lean_records
from efferent.gateway.control.projection import rows_of
from efferent.gateway.control.tables import Row

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "control" / "v1"
FREQUENT = (AGENT, FILE, DEPLOYMENT_RUN)
FILES = sorted(path for kind in FREQUENT for path in GOLDEN.glob(f"{kind.name}.*.json"))


def rows(kind: Kind[Any], payload: bytes) -> list[Row]:
    """What the projection keeps of it."""
    return rows_of(kind, RawRecord(7, subject_of(kind, kind.decode(payload).workspace_id, "agent_1"), payload, 0))


def written(kind: Kind[Any], path: Path) -> bytes:
    """The golden record as it is written today."""
    record = kind.decode(path.read_bytes())
    deed: Deed = next(deed for deed in get_args(Deed) if record.type == f"{kind.name}.{deed}")
    return kind.encode(Change(deed, record.data), at=record.at, workspace_id=record.workspace_id, actor=record.actor)


def without(payload: bytes, *path: str) -> bytes:
    """The record without one of its fields."""
    raw = json.loads(payload)
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return json.dumps(raw).encode()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_rows_are_those_of_the_whole_record(path: Path) -> None:
    kind = KINDS[path.stem.partition(".")[0]]
    payload = written(kind, path)
    whole = without(payload, "shape")
    assert lean_records.read(kind, payload) is not None
    assert lean_records.read(kind, whole) is None
    assert rows(kind, payload) == rows(kind, whole)


@pytest.mark.parametrize("kind", FREQUENT, ids=lambda kind: kind.name)
def test_kinds_that_are_read_lean_say_their_shape(kind: Kind[Any]) -> None:
    assert kind.says_shape
    assert len(kind.shape) == 12
    assert [other.name for other in KINDS.values() if other.says_shape] == [kind.name for kind in FREQUENT]


def test_a_name_in_any_script_is_shown_as_it_was_given() -> None:
    record = FILE.decode((GOLDEN / "file.created.json").read_bytes())
    data = record.data.model_copy(update={"filename": "naïve \u2013 \u0434 \U0001f4c4 \\u0041 \x7f.pdf"})
    payload = FILE.encode(Change("created", data), at=record.at, workspace_id=record.workspace_id, actor=None)
    assert rows(FILE, payload) == rows(FILE, without(payload, "shape"))


def test_a_resource_from_before_a_field_existed_is_shown_with_it() -> None:
    payload = written(AGENT, GOLDEN / "agent.created.json")
    older = without(payload, "data", "execution_identity").replace(AGENT.shape.encode(), b"000000000000")
    assert lean_records.read(AGENT, older) is None
    [row] = rows(AGENT, older)
    assert json.loads(row.body)["execution_identity"] == {"type": "service_account"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b'{"v":1,"type":"agent.created","workspace_id":"w","shape":"%s","data":{}}' % AGENT.shape.encode(),
        b'{"v":1,"type":"agent.\xff","workspace_id":"w","shape":"%s","data":{}}' % AGENT.shape.encode(),
        b'{"v":2,"type":"agent.created","workspace_id":"w","shape":"%s","data":{"id":"agent_1","version":1,'
        b'"created_at":"2026-01-01T00:00:00Z","archived_at":null}}' % AGENT.shape.encode(),
    ],
)
def test_what_is_no_record_is_left_to_those_who_say_why(payload: bytes) -> None:
    assert lean_records.read(AGENT, payload) is None
    with pytest.raises(UnreadableRecord):
        rows_of(AGENT, RawRecord(1, "control.agent.agent_1", payload, 0))
