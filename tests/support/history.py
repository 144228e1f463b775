"""The laws that every session's history obeys, as a check that names each breach.

They are those of the recorded orders of events: how turns begin and end, what stands inside a model request, that each
call has one result, and that ids are unique and times rise.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

_BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRANSCRIPT: Final = (
    "agent.message", "agent.thinking", "agent.tool_use", "agent.custom_tool_use", "agent.mcp_tool_use",
)  # fmt: skip
_USES: Final = ("agent.tool_use", "agent.custom_tool_use", "agent.mcp_tool_use")
_RESULTS: Final = {
    "agent.tool_result": "tool_use_id",
    "user.tool_result": "tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "agent.mcp_tool_result": "mcp_tool_use_id",
}


def problems_of(events: Sequence[Any], *, ended: bool = False) -> list[str]:
    """Every breach in a history as it was listed; ``ended``: its last turn must be over, with every call answered.

    Events may be the SDK's objects or parsed JSON.
    """
    plain = [event if isinstance(event, Mapping) else event.to_dict(mode="json") for event in events]
    checker = _Checker()
    for index, event in enumerate(plain):
        checker.take(index, event, plain)
    return checker.problems if not ended else [*checker.problems, *checker.at_the_end()]


class _Checker:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._ids: set[str] = set()
        self._last_at = _BEFORE_ALL
        self._queued = False
        self._running = False
        self._terminated = False
        self._span: str | None = None
        self._open_calls: dict[str, str] = {}
        self._answered: set[str] = set()

    def take(self, index: int, event: Mapping[str, Any], all_events: Sequence[Mapping[str, Any]]) -> None:
        """Check the next event."""
        self._index, self._type = index, str(event["type"])
        self._check_identity(event)
        if event.get("processed_at") is None:
            self._queued = True
            return
        if self._queued:
            self._report("stands after an event that is still queued")
        self._check_time(str(event["processed_at"]))
        self._check_neighbours(event, all_events)
        self._check_status()
        self._check_span(event)
        self._check_calls(event)

    def at_the_end(self) -> list[str]:
        """What must not be left when a history is over."""
        left = [f"call {call} has no result" for call in self._open_calls]
        if self._running:
            left.append("the last turn has not ended")
        if self._span is not None:
            left.append(f"model request {self._span} has not ended")
        if self._queued:
            left.append("events are still queued")
        return left

    def _report(self, what: str) -> None:
        self.problems.append(f"{self._index} {self._type}: {what}")

    def _check_identity(self, event: Mapping[str, Any]) -> None:
        if event["id"] in self._ids:
            self._report(f"the id {event['id']} comes twice")
        self._ids.add(event["id"])

    def _check_time(self, text: str) -> None:
        at = datetime.fromisoformat(text)
        if at <= self._last_at:
            self._report(f"processed_at {at} is not after {self._last_at}")
        self._last_at = max(at, self._last_at)

    def _check_neighbours(self, event: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        before = events[self._index - 1] if self._index else {"type": ""}
        after = events[self._index + 1] if self._index + 1 < len(events) else {"type": ""}
        match self._type:
            case "session.status_running" if after["type"] != "session.thread_status_running":
                self._report(f"is followed by {after['type']}")
            case "session.status_idle":
                if before["type"] != "session.usage":
                    self._report(f"follows {before['type']}, not session.usage")
                thread = events[self._index - 2] if self._index > 1 else before
                if thread["type"] != "session.thread_status_idle" or thread["stop_reason"] != event["stop_reason"]:
                    self._report("is not preceded by its thread's idle with the same stop reason")
            case "session.status_terminated" if before["type"] != "session.thread_status_terminated":
                self._report(f"follows {before['type']}")

    def _check_status(self) -> None:
        if self._terminated:
            self._report("comes after the session's end")
        match self._type:
            case "session.status_running":
                if self._running:
                    self._report("the session runs already")
                self._running = True
            case "session.status_idle" | "session.status_rescheduled":
                self._running = False
            case "session.status_terminated":
                self._running, self._terminated = False, True
            case "span.model_request_start" if not self._running:
                self._report("the session is not running")

    def _check_span(self, event: Mapping[str, Any]) -> None:
        if self._type == "span.model_request_start":
            if self._span is not None:
                self._report("a model request is open already")
            if self._open_calls:
                self._report(f"calls are still open: {sorted(self._open_calls)}")
            self._span = event["id"]
        elif self._type == "span.model_request_end":
            if self._span != event["model_request_start_id"]:
                self._report(f"ends {event['model_request_start_id']}, open is {self._span}")
            self._span = None
        elif self._span is None and self._type in _TRANSCRIPT:
            self._report("stands outside a model request")
        elif self._span is not None and self._type not in (*_TRANSCRIPT, "session.updated"):
            self._report("stands inside a model request")

    def _check_calls(self, event: Mapping[str, Any]) -> None:
        if self._type in _USES:
            self._open_calls[event["id"]] = self._type
        elif self._type in _RESULTS:
            call = event[_RESULTS[self._type]]
            if call in self._answered:
                self._report(f"a second result of {call}")
            elif call not in self._open_calls:
                self._report(f"a result of {call}, which was never called")
            self._open_calls.pop(call, None)
            self._answered.add(call)
