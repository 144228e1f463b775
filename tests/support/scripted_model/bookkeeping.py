"""What the scripted model remembers: requests, counters and gates. All of it bounded."""

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tests.support.scripted_model.script import ErrorAnswer, Question

REQUESTS_MAX: Final = 1_000
REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
QUESTIONS_MAX: Final = 10_000
WAIT_S: Final = 30.0
GATE_WAIT_S: Final = 120.0
_KEPT_HEADERS: Final = ("x-api-key", "authorization", "anthropic-version", "anthropic-beta", "content-length")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes
    question: Question

    @property
    def body(self) -> Any:
        """The parsed body."""
        return orjson.loads(self.raw)

    def shown(self) -> dict[str, Any]:
        """The form in which the control interface shows it."""
        question, step = self.question.text, self.question.step
        return {"path": self.path, "headers": self.headers, "body": self.body, "question": question, "step": step}


class Bookkeeping:
    """Records requests, counts them, and holds answers at gates."""

    def __init__(self) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=REQUESTS_MAX)
        self.counters: Counter[str] = Counter()
        self.by_question: OrderedDict[tuple[str, int], int] = OrderedDict()
        self.open_gates: set[str] = set()
        self.waiting_at: Counter[str] = Counter()
        self._request_bytes = 0
        self._changed = asyncio.Condition()

    def record(self, path: str, headers: dict[str, str], raw: bytes, question: Question) -> int:
        """Record a request; returns how many have asked this very thing before."""
        if len(self.requests) == REQUESTS_MAX:
            self._request_bytes -= len(self.requests[0].raw)
        self.requests.append(RecordedRequest(path, headers, raw, question))
        self._request_bytes += len(raw)
        while self._request_bytes > REQUEST_BYTES_MAX:
            self._request_bytes -= len(self.requests.popleft().raw)
        key = (question.text, question.step)
        before = self.by_question.pop(key, 0)
        self.by_question[key] = before + 1
        if len(self.by_question) > QUESTIONS_MAX:
            self.by_question.popitem(last=False)
        self.counters["requests"] += 1
        return before

    async def count(self, name: str) -> None:
        """Count something that somebody may be waiting for."""
        async with self._changed:
            self.counters[name] += 1
            self._changed.notify_all()

    async def open_gate(self, name: str) -> None:
        """Let everything that waits or will wait at the gate pass."""
        async with self._changed:
            self.open_gates.add(name)
            self._changed.notify_all()

    def close_gate(self, name: str) -> None:
        """Hold what comes from now on."""
        self.open_gates.discard(name)

    async def pass_gate(self, name: str) -> None:
        """Wait until the gate is open; at most ``GATE_WAIT_S``."""
        async with self._changed:
            self.waiting_at[name] += 1
            self._changed.notify_all()
            try:
                async with asyncio.timeout(GATE_WAIT_S):
                    await self._changed.wait_for(lambda: name in self.open_gates)
            finally:
                self.waiting_at[name] -= 1

    async def waiting(self, gate: str, at_least: int = 1) -> None:
        """Return when that many answers wait at the gate. Raises TimeoutError."""
        async with self._changed, asyncio.timeout(WAIT_S):
            await self._changed.wait_for(lambda: self.waiting_at[gate] >= at_least)

    async def counted(self, name: str, at_least: int = 1) -> None:
        """Return when the counter has reached the number. Raises TimeoutError."""
        async with self._changed, asyncio.timeout(WAIT_S):
            await self._changed.wait_for(lambda: self.counters[name] >= at_least)

    def still_fails(self, error: ErrorAnswer, before: int) -> bool:
        """Whether a step with an error fails this time."""
        return error.times is None or before < error.times

    @staticmethod
    def kept_headers(headers: Any) -> dict[str, str]:
        """The headers worth recording."""
        return {name: headers[name] for name in _KEPT_HEADERS if name in headers}
