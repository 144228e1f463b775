"""Events about spans of work: ``span.*``."""

from typing import Literal

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import EventId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import ModelUsage


class SpanModelRequestStart(Shape):
    """A model request begins."""

    type: Literal["span.model_request_start"] = "span.model_request_start"
    id: EventId
    processed_at: Timestamp


class SpanModelRequestEnd(Shape):
    """A model request ended."""

    type: Literal["span.model_request_end"] = "span.model_request_end"
    id: EventId
    model_request_start_id: EventId
    is_error: bool | None
    model_usage: ModelUsage
    processed_at: Timestamp


class SpanOutcomeEvaluationStart(Shape):
    """A grading cycle begins; the iteration counts from 0."""

    type: Literal["span.outcome_evaluation_start"] = "span.outcome_evaluation_start"
    id: EventId
    outcome_id: str
    iteration: int
    processed_at: Timestamp


class SpanOutcomeEvaluationOngoing(Shape):
    """Heartbeat during grading."""

    type: Literal["span.outcome_evaluation_ongoing"] = "span.outcome_evaluation_ongoing"
    id: EventId
    outcome_id: str
    iteration: int
    processed_at: Timestamp


class SpanOutcomeEvaluationEnd(Shape):
    """The verdict of a grading cycle."""

    type: Literal["span.outcome_evaluation_end"] = "span.outcome_evaluation_end"
    id: EventId
    outcome_evaluation_start_id: str
    outcome_id: str
    iteration: int
    result: str
    explanation: str
    usage: ModelUsage
    processed_at: Timestamp
