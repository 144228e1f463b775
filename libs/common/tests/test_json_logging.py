"""Log lines: JSON, with what is in ``extra`` and without the text of exceptions."""

import io
import logging
from collections.abc import Iterator

import orjson
import pytest

from efferent.common.runtime import logging as json_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    stream = io.StringIO()
    json_logging.configure("brain", "INFO", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


def test_a_line_is_json_with_its_service_and_extra_fields(lines: io.StringIO) -> None:
    logging.getLogger("somewhere").info("took %d in", 3, extra={"session_id": "sesn_1"})
    line = orjson.loads(lines.getvalue())
    assert line["at"].endswith("+00:00")
    assert {name: line[name] for name in ("level", "service", "logger", "message", "session_id")} == {
        "level": "INFO",
        "service": "brain",
        "logger": "somewhere",
        "message": "took 3 in",
        "session_id": "sesn_1",
    }


def test_an_exception_is_named_without_its_text(lines: io.StringIO) -> None:
    try:
        try:
            raise KeyError("what the client sent")
        except KeyError as error:
            raise ValueError("what the client sent") from error
    except ValueError:
        logging.getLogger().exception("failed")
    line = orjson.loads(lines.getvalue())
    assert line["error"] == "ValueError"
    assert line["error_causes"] == ["KeyError"]
    assert "test_an_exception_is_named_without_its_text" in line["error_at"][0]
    assert "what the client sent" not in lines.getvalue()


def test_a_message_is_cut_at_its_limit(lines: io.StringIO) -> None:
    logging.getLogger().info("x" * 4_001)
    assert orjson.loads(lines.getvalue())["message"] == "x" * 4_000


def test_a_value_that_json_does_not_know_is_written_as_text(lines: io.StringIO) -> None:
    logging.getLogger().info("odd", extra={"value": object, "keys": {1: 2}})
    assert orjson.loads(lines.getvalue())["keys"] == {"1": 2}


def test_records_below_the_level_are_not_written(lines: io.StringIO) -> None:
    logging.getLogger().debug("hidden")
    assert lines.getvalue() == ""
