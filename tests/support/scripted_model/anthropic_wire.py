"""The Messages API's wire format: reading the question, writing the stream."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from tests.support.scripted_model.script import Question, Step

_LARGE_BODY_BYTES: Final = 16 * 1024
_USER: Final = b'{"role":"user"'


def read_question(body: bytes) -> Question:
    """The question of a request; of a long history only the end is read where that is enough."""
    if len(body) > _LARGE_BODY_BYTES and (start := body.rfind(_USER)) > 0 and body.endswith(b"]}"):
        try:
            return question_of(orjson.loads(b"[" + body[start:-1]))
        except (orjson.JSONDecodeError, LookupError):
            pass
    messages = orjson.loads(body)["messages"]
    try:
        return question_of(messages)
    except LookupError:
        return Question("", 0)


def question_of(messages: list[dict[str, Any]]) -> Question:
    """The text of the last message of the user that has any, and the assistant's messages since."""
    step = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            step += 1
        elif message["role"] == "user":
            content = message["content"]
            texts = (
                [content]
                if isinstance(content, str)
                else [block["text"] for block in content if block["type"] == "text"]
            )
            if texts:
                return Question("\n".join(texts), step)
    raise LookupError("no message of the user has text")


def error_body(error_type: str, message: str) -> bytes:
    """The API's error envelope."""
    return orjson.dumps({"type": "error", "error": {"type": error_type, "message": message}, "request_id": "req_x"})


def stream_of(step: Step, model: str, body_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """The frames of an answer; True with those that are a piece of text."""
    prompt = {"input_tokens": max(1, body_bytes // 4), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    usage = {**prompt, "output_tokens": 1, **{key: count for key, count in step.usage.items() if key in prompt}}
    message: dict[str, Any] = {
        "id": "msg_scripted", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    yield frame({"type": "message_start", "message": message}), False
    index = 0
    if step.thinking is not None:
        yield from _block(
            index,
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": step.thinking},
                {"type": "signature_delta", "signature": f"sig:{step.thinking}"},
            ],
        )
        index += 1
    if step.redacted is not None:
        yield from _block(index, {"type": "redacted_thinking", "data": step.redacted}, [])
        index += 1
    if step.text:
        pieces = [{"type": "text_delta", "text": piece} for piece in step.pieces()]
        yield from _block(index, {"type": "text", "text": ""}, pieces)
        index += 1
    if step.stream_error is not None:
        yield frame({"type": "error", "error": step.stream_error}), False
        return
    for number, (name, arguments) in enumerate(step.tools):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
        text = orjson.dumps(arguments).decode()
        halves = [half for half in (text[: len(text) // 2], text[len(text) // 2 :]) if half]
        yield from _block(index, call, [{"type": "input_json_delta", "partial_json": half} for half in halves])
        index += 1
    stop = step.stop or ("tool_use" if step.tools else "end_turn")
    details = {"type": "refusal", **step.refusal} if step.refusal is not None else None
    output = step.usage.get("output_tokens", len(step.text.split()) + 10 * len(step.tools))
    yield (
        frame(
            {
                "type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": None, "stop_details": details},
                "usage": {"output_tokens": output},
            }
        ),
        False,
    )
    yield STOP, False


def frame(event: dict[str, Any]) -> bytes:
    """One event as it is sent."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


STOP: Final = frame({"type": "message_stop"})


def _block(index: int, start: dict[str, Any], deltas: list[dict[str, Any]]) -> Iterator[tuple[bytes, bool]]:
    yield frame({"type": "content_block_start", "index": index, "content_block": start}), False
    for delta in deltas:
        event = {"type": "content_block_delta", "index": index, "delta": delta}
        yield frame(event), delta["type"] == "text_delta"
    yield frame({"type": "content_block_stop", "index": index}), False
