"""A neutral request as chat-completions messages and tools."""

from typing import Final

import orjson
from pydantic import JsonValue

from efferent.brain.adapters.conversation import Run, input_parts, marked_system_text, runs
from efferent.brain.ports import ModelRequest, ToolDefinition
from efferent.common.domain.content import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    RedactedBlock,
    SearchResultBlock,
    TextBlock,
    UrlSource,
)
from efferent.common.domain.context import Part, Thought, ToolResult, ToolUse

_NUDGE: Final = "Continue."

Json = dict[str, JsonValue]


def chat_messages(request: ModelRequest) -> list[Json]:
    """The history in the order that chat templates insist on: system, then users and assistant in turn."""
    model_id = request.model.id

    def is_visible(part: Part) -> bool:
        match part:
            case TextBlock():
                return bool(part.text) and not part.text.isspace()
            case Thought():
                return part.model == model_id and part.signature is not None
            case _:
                return True

    messages: list[Json] = []
    if request.system and not request.system.isspace():
        messages.append({"role": "system", "content": request.system})
    found = runs(request.messages, 0, is_visible)
    if not found or found[0].is_assistant:
        messages.append({"role": "user", "content": _NUDGE})
    for run in found:
        if run.is_assistant:
            parts = [part for message in run.messages for part in message.parts if is_visible(part)]
            messages.append(_assistant(parts))
        else:
            messages.extend(_input(run))
    if found and found[-1].is_assistant:
        messages.append({"role": "user", "content": _NUDGE})
    return messages


def chat_tools(tools: tuple[ToolDefinition, ...]) -> list[Json]:
    """Tools as functions."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
        }
        for tool in tools
    ]


def _assistant(parts: list[Part]) -> Json:
    texts = [part.text for part in parts if isinstance(part, TextBlock)]
    message: Json = {"role": "assistant", "content": "\n".join(texts) or None}
    calls: list[JsonValue] = [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": part.name, "arguments": orjson.dumps(part.input).decode()},
        }
        for part in parts
        if isinstance(part, ToolUse)
    ]
    if calls:
        message["tool_calls"] = calls
    thoughts: list[JsonValue] = [
        {"type": "thinking", "thinking": part.thinking, "signature": part.signature}
        for part in parts
        if isinstance(part, Thought)
    ]
    if thoughts:
        message["thinking_blocks"] = thoughts
    return message


def _input(run: Run) -> list[Json]:
    results, others, system = input_parts(run)
    messages: list[Json] = []
    content: list[JsonValue] = []
    for result in results:
        messages.append({"role": "tool", "tool_call_id": result.tool_use_id, "content": _result_text(result)})
        # A tool message holds text only; what else the tool gave follows as the user's.
        content += [_media(part) for part in result.content if isinstance(part, ImageBlock | DocumentBlock)]
    for part in others:
        match part:
            case TextBlock() if part.text and not part.text.isspace():
                content.append({"type": "text", "text": part.text})
            case ImageBlock() | DocumentBlock():
                content.append(_media(part))
            case RedactedBlock():
                content.append({"type": "text", "text": "[content withheld]"})
            case _:
                pass
    content += [{"type": "text", "text": marked_system_text(text)} for text in system if text.strip()]
    if content:
        only = content[0]
        if len(content) == 1 and isinstance(only, dict) and only["type"] == "text":
            messages.append({"role": "user", "content": only["text"]})
        else:
            messages.append({"role": "user", "content": content})
    return messages


def _result_text(result: ToolResult) -> str:
    texts: list[str] = []
    for part in result.content:
        match part:
            case TextBlock():
                texts.append(part.text)
            case SearchResultBlock():
                passages = "\n".join(passage.text for passage in part.content)
                texts.append(f"{part.title} ({part.source})\n{passages}")
            case ImageBlock() | DocumentBlock():
                texts.append(f"[{part.type}, see below]")
    text = "\n".join(filter(None, texts)) or "(no output)"
    return f"Error: {text}" if result.is_error else text


def _media(part: ImageBlock | DocumentBlock) -> Json:
    match part.source:
        case PlainTextSource(data=text):
            return {"type": "text", "text": text}
        case FileSource(file_id=file_id):
            # The id is one of ours, and no provider knows it.
            return {"type": "text", "text": f"[the {part.type} {file_id} could not be loaded]"}
        case Base64Source(media_type=media_type, data=data):
            return _addressed(part, f"data:{media_type};base64,{data}")
        case UrlSource(url=url):
            return _addressed(part, url)


def _addressed(part: ImageBlock | DocumentBlock, address: str) -> Json:
    if isinstance(part, ImageBlock):
        return {"type": "image_url", "image_url": {"url": address}}
    if address.startswith("data:"):
        return {"type": "file", "file": {"file_data": address, "filename": part.title or "document.pdf"}}
    return {"type": "file", "file": {"file_id": address}}
