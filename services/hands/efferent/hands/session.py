"""One session's calls by their ids: each runs once, whoever asks for it how often."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from efferent.hands.calls import Calls
from efferent.hands.journal import Dropped, Journal, Result, Started
from efferent.hands.placer import Placer
from efferent.hands.results import DROPPED_TEXT, INTERRUPTED_TEXT, text_result

_CALL_ID: Final = re.compile(r"[A-Za-z0-9_]{1,100}")
CHUNKS_WAITING_MAX: Final = 256
"""Pieces of output that wait for one listener; a slower one misses some, and has them all in the result."""

_log = logging.getLogger(__name__)


class TooManyCalls(Exception):
    """The session has as many calls running and waiting as it may."""


def is_call_id(text: str) -> bool:
    """Whether the text can be a call's id, and so the name of a file."""
    return _CALL_ID.fullmatch(text) is not None


@dataclass(eq=False, slots=True)
class RunningCall:
    """A call between its first asking and its recorded result."""

    call_id: str
    answer: "asyncio.Task[Result]" = field(init=False)
    """The recorded result. Never cancelled: whoever waits for it shields it. Raises OSError: it cannot be recorded."""
    work: "asyncio.Task[Result] | None" = None
    is_cancelled: bool = False
    listeners: "set[asyncio.Queue[bytes]]" = field(default_factory=set)

    def listen(self) -> "asyncio.Queue[bytes]":
        """Output from now on."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS_WAITING_MAX)
        self.listeners.add(queue)
        return queue

    def tell(self, data: bytes) -> None:
        """Pass output on to all listeners that have room for it."""
        for queue in self.listeners:
            if not queue.full():
                queue.put_nowait(data)

    def cancel(self) -> None:
        """Stop the call; its result is then an error."""
        self.is_cancelled = True
        if self.work is not None:
            self.work.cancel()


class Session:
    """The calls of one session."""

    def __init__(
        self,
        session_id: str,
        journal: Journal,
        calls: Calls,
        placer: Placer,
        calls_max: int,
        now_s: Callable[[], float],
    ) -> None:
        self.placer = placer
        self._session_id = session_id
        self._journal = journal
        self._journal_turn = asyncio.Lock()
        self._calls = calls
        self._calls_max = calls_max
        self._now_s = now_s
        self._running: dict[str, RunningCall] = {}
        if journal.had_commands:
            calls.shell.lost_because = "the hands were restarted"

    @property
    def running(self) -> int:
        """Calls that run or wait."""
        return len(self._running)

    def call(self, call_id: str, tool: str, input_json: str) -> RunningCall:
        """Run the call, or attach to it, or fetch its recorded result. Raises TooManyCalls."""
        if (known := self._running.get(call_id)) is not None:
            return known
        if len(self._running) >= self._calls_max:
            raise TooManyCalls(f"the session has {self._calls_max} calls running")
        call = RunningCall(call_id)
        self._running[call_id] = call
        call.answer = asyncio.create_task(self._answer(call, tool, input_json))
        call.answer.add_done_callback(lambda answer: self._forget(call_id, answer))
        return call

    def cancel(self, call_id: str) -> None:
        """Stop a running call."""
        if (call := self._running.get(call_id)) is not None:
            call.cancel()

    async def interrupt(self) -> None:
        """Stop every call and return when each has its result."""
        calls = list(self._running.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*(call.answer for call in calls), return_exceptions=True)

    async def settle(self) -> None:
        """Return when no call runs any more."""
        await asyncio.gather(*(asyncio.shield(call.answer) for call in self._running.values()), return_exceptions=True)

    def close(self) -> None:
        """Give the journal's file back."""
        self._journal.close()

    def _forget(self, call_id: str, answer: "asyncio.Task[Result]") -> None:
        del self._running[call_id]
        if (error := answer.exception()) is not None:  # the caller may be gone
            _log.error("a call could not be recorded", exc_info=error, extra={"session_id": self._session_id})

    async def _answer(self, call: RunningCall, tool: str, input_json: str) -> Result:
        warming = None if self._journal.knows(call.call_id) else asyncio.create_task(self._calls.warm())
        try:
            return await self._once(call, tool, input_json)
        finally:
            if warming is not None:
                await warming

    async def _once(self, call: RunningCall, tool: str, input_json: str) -> Result:
        async with self._journal_turn:
            known = await asyncio.to_thread(self._journal.find_or_start, call.call_id, tool)
        if isinstance(known, Result):
            return known
        if isinstance(known, Dropped):
            return text_result(DROPPED_TEXT, is_error=True)
        interrupted = text_result(INTERRUPTED_TEXT, is_error=True)
        result = interrupted if isinstance(known, Started) else await self._run(call, tool, input_json)
        async with self._journal_turn:
            await asyncio.to_thread(self._journal.finish, call.call_id, result)
        return result

    async def _run(self, call: RunningCall, tool: str, input_json: str) -> Result:
        begun = self._now_s()
        call.work = asyncio.create_task(self._calls.run(call.call_id, tool, input_json, call.tell))
        if call.is_cancelled:
            call.work.cancel()
        try:
            result = await call.work
        except asyncio.CancelledError:
            result = text_result(INTERRUPTED_TEXT, is_error=True)
        except Exception as error:
            _log.error("a call failed", exc_info=error, extra={"session_id": self._session_id, "call_id": call.call_id})
            result = text_result("The sandbox failed unexpectedly.", is_error=True)
        fields = {"session_id": self._session_id, "call_id": call.call_id, "tool": tool, "is_error": result.is_error}
        _log.info("call ended", extra={**fields, "duration_ms": round((self._now_s() - begun) * 1000)})
        return result
