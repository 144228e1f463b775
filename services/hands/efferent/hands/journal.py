"""The call journal of one session: an append-only file that makes sure no call runs twice.

``started`` is durable before a call runs and its result before it is answered. Whoever asks again for a call gets its
result; a call that was started and has no result when the hands come up again is answered with an error, never run.
Old results are dropped once newer ones exist, the fact that a call ran is not.
"""

import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.hands.folder import fsync_folder

_sync: Final = getattr(os, "fdatasync", os.fsync)
"""Waits until the content is on the disk; not every system has the cheaper form."""

CALL_IDS_MAX: Final = 100_000
"""Calls of a session whose ids are remembered; beyond it the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call was answered with: content blocks as a JSON array, and whether it is an error."""

    content_json: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Started:
    """The call was started and has no result."""

    tool: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The call has run; its result is no longer kept."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a result's line stands in the file."""

    start: int
    length: int


Entry = Started | Result | Dropped


class Journal:
    """One session's journal. Its methods block on the disk: call them from a thread, one at a time."""

    def __init__(self, path: Path, *, results_max: int, bytes_max: int) -> None:
        """Open or make the journal. Raises OSError, ValueError when the file is not a journal."""
        self._path = path
        self._results_max = results_max
        self._bytes_max = bytes_max
        self._calls: OrderedDict[str, Started | Dropped | _Span] = OrderedDict()
        is_new = not path.exists()
        self._spans = 0
        self._had_commands = False
        self._file = path.open("a+b", buffering=0)
        try:
            self._load()
        except ValueError:
            self._file.close()
            raise
        if is_new:
            fsync_folder(path.parent)

    @property
    def had_commands(self) -> bool:
        """Whether a shell command stood in the file when it was opened: a shell has held state that is gone."""
        return self._had_commands

    def find(self, call_id: str) -> Entry | None:
        """What is known of the call; None when it never started."""
        known = self._calls.get(call_id)
        return self._result(known) if isinstance(known, _Span) else known

    def knows(self, call_id: str) -> bool:
        """Whether the call has ever started. Does not touch the disk."""
        return call_id in self._calls

    def find_or_start(self, call_id: str, tool: str) -> Entry | None:
        """What is known of the call, or None: then it was not known, and is now recorded as started. Raises OSError."""
        if (known := self.find(call_id)) is None:
            self.start(call_id, tool)
        return known

    def start(self, call_id: str, tool: str) -> None:
        """Record durably that the call is about to run. Raises OSError: then it must not run."""
        self._append({"call": call_id, "started": tool})
        self._calls[call_id] = Started(tool)

    def finish(self, call_id: str, result: Result) -> None:
        """Record the result durably. Raises OSError: then it must not be answered."""
        span = self._append({"call": call_id, "content": result.content_json, "error": result.is_error})
        self._calls[call_id] = span
        self._calls.move_to_end(call_id)
        self._spans += 1
        if self._spans > 2 * self._results_max or span.start + span.length > self._bytes_max:
            self._compact()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _append(self, line: dict[str, object]) -> _Span:
        data = json.dumps(line).encode() + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            _sync(self._file.fileno())
        except OSError:
            self._file.truncate(start)  # a half line must not stand in front of the next one
            raise
        return _Span(start, len(data))

    def _load(self) -> None:
        self._spans = 0
        start, size = 0, self._path.stat().st_size
        with self._path.open("rb") as lines:
            for data in lines:
                span = _Span(start, len(data))
                start += len(data)
                if start == size and not data.endswith(b"}\n"):
                    self._file.truncate(span.start)  # the machine went down while this line was written
                    break
                self._take(json.loads(data), span)

    def _take(self, line: dict[str, str], span: _Span) -> None:
        if "started" in line:
            self._calls[line["call"]] = Started(line["started"])
            self._had_commands |= line["started"] == "bash"
        elif "content" in line:
            self._calls[line["call"]] = span
            self._calls.move_to_end(line["call"])
            self._spans += 1
        else:
            self._calls[line["call"]] = Dropped()
            self._had_commands = True

    def _read(self, span: _Span) -> bytes:
        return os.pread(self._file.fileno(), span.length, span.start)

    def _result(self, span: _Span) -> Result:
        line = json.loads(self._read(span))
        return Result(line["content"], line["error"])

    def _compact(self) -> None:
        """Write the newest results and the ids of all calls into a fresh file, and put it in the old one's place."""
        kept = self._newest_results()
        self._calls = OrderedDict(list(self._calls.items())[-CALL_IDS_MAX:])
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            for call_id, known in self._calls.items():
                file.write(self._line(call_id, known, call_id in kept))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        fsync_folder(self._path.parent)
        self._file.close()
        self._file = self._path.open("a+b", buffering=0)
        self._calls.clear()
        self._load()

    def _newest_results(self) -> set[str]:
        kept: set[str] = set()
        left = self._bytes_max // 2
        for call_id, known in reversed(self._calls.items()):
            if isinstance(known, _Span):
                left -= known.length
                if len(kept) >= self._results_max or (left < 0 and kept):
                    break
                kept.add(call_id)
        return kept

    def _line(self, call_id: str, known: Started | Dropped | _Span, is_kept: bool) -> bytes:
        match known:
            case _Span() if is_kept:
                return self._read(known)
            case Started(tool):
                return json.dumps({"call": call_id, "started": tool}).encode() + b"\n"
            case _:
                return json.dumps({"call": call_id}).encode() + b"\n"
