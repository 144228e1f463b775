"""Performs effects: asks models, runs tools, waits for retries. Each effect ends in the command that records it.

Nothing here reads or writes the log. Cancelling a performance ends the outside work at once.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from efferent.brain.file_shower import FileShower
from efferent.brain.furnishing import Furnisher
from efferent.brain.ports import (
    Hands,
    HandsUnavailable,
    Model,
    ModelFailure,
    ModelReply,
    ModelRequest,
    ToolCallDraft,
    ToolOutcome,
)
from efferent.brain.previews import PreviewWriter
from efferent.brain.prompt import assemble, assemble_summary, frame_summary
from efferent.brain.settings import BrainSettings
from efferent.common.domain.commands import (
    BrainCommand,
    RecordCompaction,
    RecordFailure,
    RecordReply,
    RecordToolResult,
    StartRequest,
    ToolCallPart,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.effects import (
    BeginRequest,
    CompactContext,
    Effect,
    RequestModel,
    RetryLater,
    RunTool,
    TakeInput,
)
from efferent.common.domain.ids import ClaimId, EventId, SessionId
from efferent.common.domain.state import Running, SessionState
from efferent.common.domain.timestamp import to_datetime
from efferent.common.domain.transcript import Transcript
from efferent.common.domain.usage import ModelUsage
from efferent.common.ports import BlobsUnavailable, Clock, LogError

_HANDS_RETRY_S: Final = 0.2
_HANDS_RETRY_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment in which an effect is performed."""

    state: SessionState
    transcript: Transcript
    sequence: int
    claim_id: ClaimId


class ModelFacts(Protocol):
    """What is known about models."""

    def context_window_tokens(self, model_id: str) -> int:
        """Size of the model's context window."""

    def list_cost_micro_usd(self, model_id: str, usage: ModelUsage) -> int | None:
        """List price of one request in millionths of a dollar; None when the model has no list price."""


class Performer:
    """Performs effects for the sessions that this brain holds."""

    def __init__(
        self,
        model: Model,
        facts: ModelFacts,
        hands: Hands,
        furnisher: Furnisher,
        shower: FileShower,
        clock: Clock,
        settings: BrainSettings,
        publish_delta: Callable[[SessionId, bytes], Awaitable[object]],
    ) -> None:
        self._model = model
        self._facts = facts
        self._hands = hands
        self._furnisher = furnisher
        self._shower = shower
        self._clock = clock
        self._settings = settings
        self._publish_delta = publish_delta
        self._cancelling: set[asyncio.Task[None]] = set()

    async def perform(self, effect: Effect, scene: Scene) -> BrainCommand:
        """Do what the effect says and return the command that records its outcome."""
        match effect:
            case RequestModel(span_id=span_id):
                return await self._request(scene, span_id)
            case RunTool():
                return await self._run_tool(scene, effect)
            case CompactContext(up_to=up_to):
                return await self._compact(scene, up_to)
            case RetryLater(not_before=not_before):
                due_us = int(to_datetime(not_before).timestamp() * 1_000_000)
                await asyncio.sleep(max(0.0, (due_us - self._clock.now_us()) / 1_000_000))
                return StartRequest(scene.claim_id)
            case BeginRequest():
                return StartRequest(scene.claim_id)
            case TakeInput():
                raise AssertionError("input is taken in by the worker itself")

    def stop(self, effect: Effect, session_id: SessionId) -> None:
        """Stop the outside work of an effect that the session no longer wants (a call of an interrupted turn)."""
        if isinstance(effect, RunTool):
            cancelling = asyncio.create_task(self._cancel(session_id, effect.call_id))
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)

    async def _cancel(self, session_id: SessionId, call_id: EventId) -> None:
        # Best effort: hands that do not answer end the call by its own time limit.
        with contextlib.suppress(HandsUnavailable):
            await self._hands.cancel(session_id, call_id)

    async def _request(self, scene: Scene, span_id: EventId) -> BrainCommand:
        session_id = scene.state.session_id
        previews = PreviewWriter(
            lambda data: self._publish_delta(session_id, data),
            after=scene.sequence,
            claim_id=scene.claim_id,
            span_id=span_id,
        )
        model_id = scene.state.agent.model.id
        try:
            reply = await self._ask(
                model_id, await self._filled(scene, assemble(scene.state, scene.transcript)), previews
            )
        except ModelFailure as failure:
            return self._failed(scene, failure, span_id)
        if reply.stop == "context_window_exceeded" and not reply.parts and not scene.state.compaction_due:
            reply = ModelReply((), "pause_turn", reply.usage)
            return self._replied(scene, span_id, model_id, reply, full=True)
        return self._replied(scene, span_id, model_id, reply, full=False)

    async def _filled(self, scene: Scene, request: ModelRequest) -> ModelRequest:
        """The request with the files that its messages name. Raises ModelFailure when they cannot be read now."""
        if not scene.transcript.has_files:
            return request
        try:
            messages = await self._shower.shown(scene.state.workspace_id, request.messages)
        except (LogError, BlobsUnavailable) as error:
            text = f"the files of the conversation cannot be read now: {error}"
            raise ModelFailure("model_request_failed", "retryable", text) from error
        return replace(request, messages=messages)

    async def _ask(self, model_id: str, request: ModelRequest, previews: PreviewWriter | None) -> ModelReply:
        reply: ModelReply | None = None
        async with contextlib.aclosing(self._model.stream(request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, ModelReply):
                    reply = chunk
                elif previews is not None:
                    await previews.write(chunk)
        if previews is not None:
            await previews.flush()
        if reply is None:
            raise ModelFailure("model_request_failed", "retryable", f"{model_id} ended its stream without an answer")
        return reply

    def _replied(self, scene: Scene, span_id: EventId, model_id: str, reply: ModelReply, *, full: bool) -> RecordReply:
        used, answered_by = reply.usage, reply.answered_by or model_id
        context = (
            used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens + used.output_tokens
        )
        limit = self._facts.context_window_tokens(model_id) * self._settings.compact_at_fraction
        return RecordReply(
            claim_id=scene.claim_id,
            span_id=span_id,
            model=answered_by,
            parts=tuple(_part(part) for part in reply.parts),
            usage=used,
            list_cost_micro_usd=self._facts.list_cost_micro_usd(answered_by, used),
            refusal=reply.refusal,
            more_to_come=reply.stop == "pause_turn",
            compaction_due=full or context > limit,
        )

    def _failed(self, scene: Scene, failure: ModelFailure, span_id: EventId | None) -> RecordFailure:
        status = scene.state.status
        failures = status.failures if isinstance(status, Running) else 0
        delay_s = min(self._settings.retry_base_s * 2**failures, self._settings.retry_max_s)
        # Jitter, so that many sessions that failed together do not come back together.
        delay_s = max(delay_s * random.uniform(0.8, 1.2), failure.retry_after_s or 0.0)  # noqa: S311
        return RecordFailure(
            claim_id=scene.claim_id,
            span_id=span_id,
            kind=failure.kind,
            verdict=failure.verdict,
            message=failure.message,
            retry_delay_us=int(min(delay_s, 60.0) * 1_000_000),
        )

    async def _compact(self, scene: Scene, up_to: EventId) -> BrainCommand:
        model_id = scene.state.agent.model.id
        try:
            request = await self._filled(scene, assemble_summary(scene.state, scene.transcript))
            reply = await self._ask(model_id, request, None)
            summary = "".join(part.text for part in reply.parts if isinstance(part, TextBlock)).strip()
            if not summary:
                raise ModelFailure("model_request_failed", "retryable", f"{model_id} gave no summary of the context")
        except ModelFailure as failure:
            return self._failed(scene, failure, None)
        return RecordCompaction(
            claim_id=scene.claim_id,
            summary=frame_summary(summary),
            up_to=up_to,
            usage=reply.usage,
            model=reply.answered_by or model_id,
            list_cost_micro_usd=self._facts.list_cost_micro_usd(reply.answered_by or model_id, reply.usage),
        )

    async def _run_tool(self, scene: Scene, effect: RunTool) -> RecordToolResult:
        outcome = await self._execute(scene, effect)
        return RecordToolResult(scene.claim_id, effect.call_id, outcome.content, outcome.is_error)

    async def _execute(self, scene: Scene, effect: RunTool) -> ToolOutcome:
        give_up_at = self._clock.monotonic_s() + self._settings.hands_wait_s
        delay_s = _HANDS_RETRY_S
        while True:
            try:
                return await self._furnisher.execute(scene.state, scene.claim_id, effect)
            except HandsUnavailable as error:
                if self._clock.monotonic_s() + delay_s > give_up_at:
                    text = f"The sandbox did not answer for {self._settings.hands_wait_s:.0f} s: {error}"
                    return ToolOutcome((TextBlock(text=text),), is_error=True)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _HANDS_RETRY_MAX_S)


def _part(part: Thought | TextBlock | ToolCallDraft) -> Thought | TextBlock | ToolCallPart:
    return ToolCallPart(part.name, part.input) if isinstance(part, ToolCallDraft) else part
