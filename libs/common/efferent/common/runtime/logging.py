"""JSON log lines on stderr, one per record: ids and counts, never content.

Everything in a record's ``extra`` becomes a field. The message of an exception can repeat what a client sent, so only
its class and the places in the code that it passed are written, not its text.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO

import orjson

_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TEXT_LENGTH_MAX: Final = 4_000
_FRAMES_MAX: Final = 12


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage()[:_TEXT_LENGTH_MAX],
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _error_fields(record.exc_info[1])
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(service: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all log records of this process to ``stream`` (default: stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a closed stderr (the supervisor is dead) must not become a second error
    # Not shown, so not looked up: every request of the gateway writes a line, and the walk up the stack is half of it.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _error_fields(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _FRAMES_MAX:
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return {
        "error": type(error).__qualname__,
        "error_at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        "error_causes": causes,
    }
