"""Server-sent events from bytes, incrementally and within limits. Knows nothing of what the events say."""

from typing import Final

LINE_BYTES_MAX: Final = 1024 * 1024
STREAM_BYTES_MAX: Final = 64 * 1024 * 1024


class SseLimitExceeded(Exception):
    """A line, an event or the whole stream is longer than its limit."""


class SseDecoder:
    """Collects the data of events. The event's name is not kept: both wire formats repeat it in the data."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX, stream_bytes_max: int = STREAM_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._stream_bytes_max = stream_bytes_max
        self._stream_bytes = 0
        self._rest = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._has_returns = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that the chunk completes. Raises SseLimitExceeded."""
        self._stream_bytes += len(chunk)
        if self._stream_bytes > self._stream_bytes_max:
            raise SseLimitExceeded(f"the stream is longer than {self._stream_bytes_max} bytes")
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._line_bytes_max:
            raise SseLimitExceeded(f"a line is longer than {self._line_bytes_max} bytes")
        if b"\r" in chunk or self._has_returns:
            self._has_returns = True
            lines = [line.removesuffix(b"\r") for line in lines]
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._collect(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data, self._data_bytes = [], 0
        return events

    def _collect(self, data: bytes) -> None:
        self._data_bytes += len(data)
        if self._data_bytes > self._line_bytes_max:
            raise SseLimitExceeded(f"an event is longer than {self._line_bytes_max} bytes")
        self._data.append(data)
