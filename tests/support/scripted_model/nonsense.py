"""Streams that no model should send."""

import asyncio

from aiohttp import web

from tests.support.scripted_model.anthropic_wire import frame
from tests.support.scripted_model.bookkeeping import Bookkeeping

_LONG_LINE_PIECE = b"x" * 65_536


async def send_nonsense(
    request: web.Request, response: web.StreamResponse, kind: str, frames: list[bytes], books: Bookkeeping
) -> None:
    """Send the answer's frames, spoilt in the named way. Raises ValueError for a kind that is not known."""
    match kind:
        case "bad_json":
            await response.write(frames[0] + b"event: content_block_start\ndata: {not json\n\n")
        case "unknown_events":
            await response.write(_with_unknown_events(frames))
        case "no_stop":
            await response.write(b"".join(frames[:-1]))
        case "after_stop":
            await response.write(b"".join(frames) + frames[0])
        case "tool_input":
            await response.write(_tool_with_array_input(frames))
        case "silence":
            await response.write(frames[0])
            await books.count("silent")
            await books.pass_gate("silence")
        case "long_line":
            await response.write(frames[0] + b"data: ")
            for _ in range(64):
                await response.write(_LONG_LINE_PIECE)
        case "endless":
            await response.write(b"".join(frames[:2]))
            delta = {"type": "text_delta", "text": "x" * 32_768}
            piece = frame({"type": "content_block_delta", "index": 0, "delta": delta})
            for _ in range(8_192):
                await response.write(piece)
        case "html":
            await response.write(b"<html><body>Sign in to the network</body></html>")
        case "linger":
            await response.write(b"".join(frames))
            await books.pass_gate("linger")
        case "empty":
            pass
        case "disconnect":
            await response.write(b"".join(frames[:3]))
            await asyncio.sleep(0)
            if request.transport is not None:
                request.transport.abort()
        case _:
            raise ValueError(f"no such nonsense: {kind}")


def _with_unknown_events(frames: list[bytes]) -> bytes:
    unknown = frame({"type": "weather_report", "clouds": 3})
    block = {"type": "crystal_ball", "vision": "x"}
    opened = frame({"type": "content_block_start", "index": 90, "content_block": block})
    delta = frame({"type": "content_block_delta", "index": 90, "delta": {"type": "mist_delta", "mist": 1}})
    closed = frame({"type": "content_block_stop", "index": 90})
    ping = frame({"type": "ping"})
    return b": a comment\n\n" + frames[0] + unknown + ping + opened + delta + closed + ping.join(frames[1:]) + ping


def _tool_with_array_input(frames: list[bytes]) -> bytes:
    call = {"type": "tool_use", "id": "toolu_x", "name": "bash", "input": {}}
    return b"".join(
        [
            frames[0],
            frame({"type": "content_block_start", "index": 0, "content_block": call}),
            frame(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": '["rm"]'},
                }
            ),
            frame({"type": "content_block_stop", "index": 0}),
            frame({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
            frames[-1],
        ]
    )
