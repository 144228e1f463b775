"""Every persisted shape of every version stays readable for ever: these files were written once and never change."""

import json
from pathlib import Path
from typing import get_args

import pytest

from efferent.common import codec
from efferent.common.domain.events import InternalEvent, PublicEvent

FILES = sorted((Path(__file__).parent / "events").glob("v*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_record_that_was_ever_written_is_read(path: Path) -> None:
    record = codec.decode(path.read_bytes())
    assert record.entries[0].event.type == path.stem


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == f"v{codec.VERSION}"], ids=lambda p: p.stem
)
def test_the_current_version_is_written_as_it_always_was(path: Path) -> None:
    written = json.loads(codec.encode(codec.decode(path.read_bytes())))
    assert written == json.loads(path.read_text())


def test_every_event_type_has_its_golden_file() -> None:
    types = {
        member.model_fields["type"].default for union in (PublicEvent, InternalEvent) for member in get_args(union)
    }
    assert types == {path.stem for path in FILES if path.parent.name == f"v{codec.VERSION}"}
