"""Writes down every answer of a gateway, from inside its process: one JSON line each, in a file of the process.

Whoever the client is and however the answer ends, this is what went out. Nothing here belongs to the server: the suite
puts it into gateways that it starts (``sitecustomize``), and into those of its own process.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from aiohttp import web

FOLDER_VARIABLE: Final = "EFFERENT_TESTS_TRAFFIC"
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""A longer body is not written down."""
HEADERS: Final = ("request-id", "anthropic-organization-id", "anthropic-workspace-id", "retry-after")
_GATEWAY: Final = "efferent.gateway.http_server"
_STREAM: Final = "text/event-stream"


def install(folder: Path) -> None:
    """Record all gateways of this process from now on."""
    lines = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1)
    write_headers, write = web.StreamResponse._write_headers, web.StreamResponse.write

    async def write_head(response: Any) -> None:
        """Every answer comes here once, when its headers are final and nothing of it has left."""
        if _is_ours(response) and response.content_type != _STREAM:
            lines.write(_line(response, body=_text(response)))
        await write_headers(response)

    async def write_chunk(response: Any, data: Any) -> None:
        if _is_ours(response) and response.content_type == _STREAM:
            lines.write(_line(response, frames=bytes(data).decode(errors="replace")))
        await write(response, data)

    setattr(web.StreamResponse, "_write_headers", write_head)  # noqa: B010 (in place of what is typed)
    setattr(web.StreamResponse, "write", write_chunk)  # noqa: B010


def _is_ours(response: Any) -> bool:
    request = response._req
    return isinstance(request, web.Request) and type(request.protocol).__module__ == _GATEWAY


def _text(response: Any) -> str | None:
    """The text of a JSON answer; None of all others. One that is too long to be kept is told without its body."""
    body = response.body if isinstance(response, web.Response) else None
    if response.content_type != "application/json" or not isinstance(body, bytes) or len(body) > BODY_BYTES_MAX:
        return None
    return body.decode(errors="replace")


def _line(response: Any, **more: str | None) -> str:
    request = response._req
    told = {
        "method": request.method,
        "path": request.path_qs,
        "beta": ",".join(value for name, value in request.headers.items() if name.lower() == "anthropic-beta"),
        "status": response.status,
        "content_type": response.content_type,
        "headers": {name: response.headers[name] for name in HEADERS if name in response.headers},
        **more,
    }
    return json.dumps(told) + "\n"
