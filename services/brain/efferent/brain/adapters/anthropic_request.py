"""Messages API requests as bytes.

A session's history grows at its end only, so what was encoded for its last request is kept in pieces and only new
turns are encoded: but for sending the bytes, a request costs the same in a long session as in a new one. Cache marks
stand on the last two user turns, which are never part of what is kept.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import orjson

from efferent.brain.adapters.anthropic_blocks import Reading, encode_run
from efferent.brain.adapters.conversation import Run, runs
from efferent.brain.ports import ModelRequest
from efferent.common.domain.context import Message, Thought, ToolResult
from efferent.common.domain.model_catalog import EffortLevel, ModelTraits, effort_for, thinking_family

KEPT_BYTES_MAX: Final = 24 * 1024 * 1024
KEPT_SESSIONS_MAX: Final = 4_096
FAST_BETA: Final = "fast-mode-2026-02-01"
BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"
MARKED_TURNS: Final = 2
PIECE_BYTES_MIN: Final = 64 * 1024

_CACHE: Final = {"type": "ephemeral"}
_NUDGE: Final = b'{"role":"user","content":[{"type":"text","text":"Continue."}]}'
_BUDGET_TOKENS: Final[dict[EffortLevel, int]] = {
    "low": 4_096,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 48_000,
}
_BUDGET_TOKENS_MIN: Final = 1_024


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """The body, in pieces, and the values of ``anthropic-beta`` that it needs."""

    pieces: tuple[bytes, ...]
    betas: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.pieces))

    @property
    def body(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The closed turns at the beginning of one history, as they were encoded."""

    reading: Reading
    messages: tuple[Message, ...]
    pieces: tuple[bytes, ...]
    size: int


class RequestEncoder:
    """Encodes requests; keeps the beginnings of recent histories up to a limit of bytes."""

    def __init__(self, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._kept: OrderedDict[Message, _Kept] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        """Bytes kept at the moment."""
        return self._kept_bytes

    def encode(self, request: ModelRequest, sent_id: str, traits: ModelTraits) -> EncodedRequest:
        """The request for a model of these traits, under the id that the provider knows."""
        reading = Reading(thinking_family(request.model.id), traits.mid_conversation_system)
        before, tail = self._beginning(request.messages, reading)
        head, betas = _head(request, sent_id, traits, tail, reading)
        turns = [] if before or (tail and not tail[0].is_assistant) else [_NUDGE]  # a conversation begins with the user
        marked = {run.start for run in [run for run in tail if not run.is_assistant][-MARKED_TURNS:]}
        turns.extend(encode_run(run, reading, marked=run.start in marked) for run in tail)
        if tail and tail[-1].is_assistant:
            turns.append(_NUDGE)  # newer models refuse to go on from their own words
        closing = b"%b%b]}" % (b"," if before and turns else b"", b",".join(turns))
        return EncodedRequest((head[:-1] + b',"messages":[', *before, closing), betas)

    def _beginning(self, messages: tuple[Message, ...], reading: Reading) -> tuple[tuple[bytes, ...], list[Run]]:
        """The encoded closed turns, and the open ones: from the second last turn of the user on."""
        if not messages:
            return (), []
        kept = self._kept.get(messages[0])
        if kept is None or kept.reading != reading or messages[: len(kept.messages)] != kept.messages:
            kept = _Kept(reading, (), (), 0)
        tail = runs(messages, len(kept.messages), reading.is_visible)
        inputs = [index for index, run in enumerate(tail) if not run.is_assistant]
        if len(inputs) <= MARKED_TURNS:
            return kept.pieces, tail
        open_from = inputs[-MARKED_TURNS]
        closed = [encode_run(run, reading) for run in tail[:open_from]]
        if not kept.pieces and tail[0].is_assistant:
            closed.insert(0, _NUDGE)
        pieces = _extended(kept.pieces, closed)
        self._keep(messages[0], _Kept(reading, messages[: tail[open_from].start], pieces, sum(map(len, pieces))))
        return pieces, tail[open_from:]

    def _keep(self, first: Message, kept: _Kept) -> None:
        previous = self._kept.pop(first, None)
        self._kept_bytes += kept.size - (previous.size if previous else 0)
        self._kept[first] = kept
        while self._kept_bytes > self._kept_bytes_max or len(self._kept) > KEPT_SESSIONS_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.size


def _extended(pieces: tuple[bytes, ...], turns: list[bytes]) -> tuple[bytes, ...]:
    """The pieces with more turns, comma separated; a small last piece grows, so that there are few of them."""
    added = b",".join(turns)
    if not pieces:
        return (added,)
    if len(pieces[-1]) < PIECE_BYTES_MIN:
        return (*pieces[:-1], b"%b,%b" % (pieces[-1], added))
    return (*pieces, b"," + added)


def _head(
    request: ModelRequest, sent_id: str, traits: ModelTraits, tail: list[Run], reading: Reading
) -> tuple[bytes, tuple[str, ...]]:
    """Everything before the messages, as a JSON object, and the betas that it needs."""
    head: dict[str, object] = {"model": sent_id, "max_tokens": traits.output_tokens_max, "stream": True}
    betas: list[str] = []
    effort = effort_for(traits, request.model.effort.type)
    match traits.thinking:
        case "adaptive" | "adaptive_always":
            head["thinking"] = {"type": "adaptive"}
            if traits.thinking_bound:
                # A changed tool list or a compaction must cost old thinking, not the session.
                head["thinking"] = {
                    "type": "adaptive",
                    "block_binding": {"prefix_mismatch_behavior": "drop_block"},
                }
                betas.append(BINDING_BETA)
        case "budget":
            budget = min(_BUDGET_TOKENS[request.model.effort.type], traits.output_tokens_max // 2)
            if budget >= _BUDGET_TOKENS_MIN and _may_think_by_budget(tail, reading):
                head["thinking"] = {"type": "enabled", "budget_tokens": budget}
        case "none":
            effort = None
    if effort is not None:
        head["output_config"] = {"effort": effort}
    if request.model.speed == "fast":
        head["speed"] = "fast"
        betas.append(FAST_BETA)
    if request.tools:
        tools: list[dict[str, object]] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
            for tool in request.tools
        ]
        tools[-1]["cache_control"] = _CACHE
        head["tools"] = tools
    if request.system and not request.system.isspace():
        head["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHE}]
    return orjson.dumps(head), tuple(betas)


def _may_think_by_budget(tail: list[Run], reading: Reading) -> bool:
    """These models refuse to think when the calls being answered were made without thinking."""
    if len(tail) < 2 or tail[-1].is_assistant:
        return True
    if not any(isinstance(part, ToolResult) for message in tail[-1].messages for part in message.parts):
        return True
    calling = (part for message in tail[-2].messages for part in message.parts)
    return isinstance(next(filter(reading.is_visible, calling), None), Thought)
