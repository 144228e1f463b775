"""Events of the Messages API, one by one: what they may be, in which order, and what is made of them."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efferent.brain.adapters.anthropic_reply import ReplyReader, StreamError
from efferent.brain.adapters.stream_nonsense import StreamNonsense
from efferent.brain.ports import ModelReply, ToolCallDraft
from efferent.common.domain.content import TextBlock

START: dict[str, Any] = {"type": "message_start", "message": {"usage": {"input_tokens": 3}}}
STOP: dict[str, Any] = {"type": "message_stop"}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, words: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": words})


def tool(index: int, json: str, **start: Any) -> list[dict[str, Any]]:
    content = {"type": "tool_use", "id": "t", "name": "bash", "input": {}, **start}
    return block(index, content, {"type": "input_json_delta", "partial_json": json})


def closing(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 4}}


def read(*events: dict[str, Any]) -> ModelReply:
    reader = ReplyReader("claude-opus-5")
    for event in events:
        list(reader.read(orjson.dumps(event)))
    assert reader.reply is not None
    return reader.reply


def test_call_in_whose_middle_the_model_was_cut_off_is_left_out() -> None:
    events = [*text(0, "I write"), *tool(1, '{"command": "ls"}'), *tool(2, '{"command": "l')]
    reply = read(START, *events, closing("max_tokens"), STOP)
    assert reply.parts == (TextBlock(text="I write"), ToolCallDraft("bash", {"command": "ls"}))
    assert reply.stop == "max_tokens"
    with pytest.raises(StreamNonsense, match="not JSON"):
        read(START, *events, closing("tool_use"), STOP)


def test_input_that_comes_whole_is_taken() -> None:
    reply = read(START, *tool(0, "", input={"command": "ls"}), closing("tool_use"), STOP)
    assert reply.parts == (ToolCallDraft("bash", {"command": "ls"}),)


def test_empty_text_block_takes_no_place() -> None:
    empty = block(0, {"type": "text", "text": ""})
    assert read(START, *empty, *text(1, "x"), closing("end_turn"), STOP).parts == (TextBlock(text="x"),)


def test_latest_usage_counts() -> None:
    usage = read(START, closing("end_turn"), STOP).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    "events",
    [
        [STOP],
        [START, START],
        [START, STOP],
        [START, closing("end_turn"), STOP, START],
        [START, closing("because")],
        [START, closing("tool_use"), STOP],
        [closing("end_turn")],
        text(0, "before the start"),
        [START, *text(0, "x"), *text(0, "again")],
        [START, *text(0, "x")[:-1], closing("end_turn"), STOP],
        [START, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}],
        [START, {"type": "content_block_stop", "index": 5}],
        [START, *block(0, {"type": "text", "text": ""}, {"type": "input_json_delta", "partial_json": "{}"})],
        [START, *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": 5})],
        [START, {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": ""}}],
        [START, {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}],
        [START, {"type": "content_block_start", "index": "0", "content_block": {"type": "text", "text": ""}}],
        [{"type": "message_start"}],
        [{"no": "type"}],
    ],
)
def test_events_in_the_wrong_place_or_shape_are_nonsense(events: list[dict[str, Any]]) -> None:
    with pytest.raises(StreamNonsense):
        read(*events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["index", "delta", "content_block", "message", "error", "usage"])
TYPES = st.sampled_from(
    [
        "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
        "content_block_stop", "error", "ping", "other",
    ]
)  # fmt: skip
INNER = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "text_delta", "tool_use", "input_json_delta", "thinking", "refusal"])},
    optional={"text": JSON, "name": JSON, "partial_json": JSON, "usage": JSON, "stop_reason": JSON, "input": JSON},
)
EVENTS = st.builds(lambda kind, rest: {**rest, "type": kind}, TYPES, st.dictionaries(KEYS, JSON | INNER, max_size=4))


@settings(deadline=None, max_examples=60)
@given(st.lists(EVENTS | JSON, max_size=12))
def test_whatever_comes_is_read_or_refused_but_never_breaks(events: list[object]) -> None:
    reader = ReplyReader("m")
    try:
        for event in (START, *events):
            list(reader.read(orjson.dumps(event)))
    except (StreamNonsense, StreamError):
        pass
