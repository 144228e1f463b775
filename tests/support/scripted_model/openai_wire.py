"""The chat-completions wire format: reading the question, writing the stream."""

from collections.abc import Iterator
from typing import Any

import orjson

from tests.support.scripted_model.script import Question, Step


def read_question(body: bytes) -> Question:
    """The text of the last message of the user, and the assistant's messages since."""
    step = 0
    for message in reversed(orjson.loads(body)["messages"]):
        if message["role"] == "assistant":
            step += 1
        elif message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return Question(content, step)
            texts = [part["text"] for part in content if part["type"] == "text"]
            if texts:
                return Question("\n".join(texts), step)
    return Question("", 0)


def error_body(error_type: str, message: str) -> bytes:
    """The API's error envelope."""
    return orjson.dumps({"error": {"message": message, "type": error_type, "param": None, "code": None}})


def stream_of(step: Step, model: str, body_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """The frames of an answer; True with those that are a piece of text."""
    yield _chunk(model, {"role": "assistant", "content": ""}), False
    if step.thinking is not None:
        yield _chunk(model, {"reasoning_content": step.thinking}), False
    for piece in step.pieces():
        yield _chunk(model, {"content": piece}), True
    if step.stream_error is not None:
        yield b"data: %b\n\n" % orjson.dumps({"error": {**step.stream_error, "code": 500}}), False
        return
    for index, (name, arguments) in enumerate(step.tools):
        text = orjson.dumps(arguments).decode()
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        yield _chunk(model, {"tool_calls": [head]}), False
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield _chunk(model, {"tool_calls": [{"index": index, "function": {"arguments": half}}]}), False
    yield _chunk(model, {}, step.stop or ("tool_calls" if step.tools else "stop")), False
    prompt = step.usage.get("input_tokens", max(1, body_bytes // 4))
    output = step.usage.get("output_tokens", max(1, len(step.text.split())))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": step.usage.get("cache_read_input_tokens", 0)},
    }
    yield _frame({**_envelope(model), "choices": [], "usage": usage}), False
    yield b"data: [DONE]\n\n", False


def _envelope(model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1, "model": model}


def _chunk(model: str, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _frame({**_envelope(model), "choices": [choice]})


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)
