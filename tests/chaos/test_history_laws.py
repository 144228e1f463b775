"""The check of histories finds each kind of breach: a check that finds nothing proves nothing."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.support.history import problems_of

IDLE: Final = {"type": "end_turn"}


def lawful() -> list[dict[str, Any]]:
    """A turn with one call, as it should be."""
    rows: list[dict[str, Any]] = [
        {"type": "session.status_running"},
        {"type": "session.thread_status_running"},
        {"type": "user.message"},
        {"type": "span.model_request_start", "id": "span1"},
        {"type": "agent.tool_use", "id": "call1"},
        {"type": "span.model_request_end", "model_request_start_id": "span1"},
        {"type": "agent.tool_result", "tool_use_id": "call1"},
        {"type": "span.model_request_start", "id": "span2"},
        {"type": "agent.message"},
        {"type": "span.model_request_end", "model_request_start_id": "span2"},
        {"type": "session.thread_status_idle", "stop_reason": IDLE},
        {"type": "session.usage"},
        {"type": "session.status_idle", "stop_reason": IDLE},
    ]
    return [
        {"id": f"e{index}", "processed_at": f"2026-01-01T00:00:00.{index:06}Z", **row} for index, row in enumerate(rows)
    ]


def without(*kinds: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda events: [event for event in events if event["type"] not in kinds]


def changed(index: int, **values: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda events: [{**event, **values} if place == index else event for place, event in enumerate(events)]


def again(index: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda events: [*events, {**events[index], "processed_at": "2027-01-01T00:00:00Z"}]


def again_with_a_new_id(index: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda events: changed(len(events), id="new")(again(index)(events))


def test_a_lawful_history_has_no_problems() -> None:
    assert problems_of(lawful(), ended=True) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (again(2), "comes twice"),
        (changed(5, processed_at="2025-01-01T00:00:00Z"), "is not after"),
        (changed(2, processed_at=None), "still queued"),
        (without("session.thread_status_running"), "is followed by"),
        (without("session.usage"), "not session.usage"),
        (without("session.status_running"), "not running"),
        (without("session.status_idle"), "has not ended"),
        (changed(12, stop_reason={"type": "retries_exhausted"}), "same stop reason"),
        (changed(9, model_request_start_id="other"), "ends other"),
        (without("span.model_request_start"), "outside a model request"),
        (without("agent.tool_result"), "calls are still open"),
        (changed(6, tool_use_id="call2"), "never called"),
        (again_with_a_new_id(6), "a second result"),
        (again_with_a_new_id(0), "is followed by"),
        (again_with_a_new_id(3), "not running"),
        (lambda events: events[:9], "has not ended"),
        (lambda events: events[:6], "has no result"),
    ],
)
def test_each_breach_is_named(spoil: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], words: str) -> None:
    problems = problems_of(spoil(lawful()), ended=True)
    assert any(words in problem for problem in problems), problems
