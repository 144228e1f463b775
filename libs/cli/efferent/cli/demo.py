"""``efferent demo``: plays one session on the running server, over HTTP as any client would, without an SDK."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from efferent.cli.errors import CommandError
from efferent.cli.up_settings import read_settings

_HEADERS: Final = {"anthropic-version": "2023-06-01", "anthropic-beta": "managed-agents-2026-04-01"}
_ENDS: Final = frozenset({"session.status_idle", "session.status_terminated"})
_SESSION_WITHIN_S: Final = 300.0
_LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_TEXT_LENGTH_MAX: Final = 2_000
_MESSAGE: Final = """Please write a file, run it and tell me what it printed.
$ printf 'print("hello from the sandbox")' > hello.py
$ python3 hello.py 2>/dev/null || cat hello.py
"""


def main(arguments: argparse.Namespace) -> int:
    """Play the session. Returns 0 when it ended idle. Raises CommandError."""
    settings = read_settings(os.environ)
    key = settings.api_key or _kept_key(settings.data_dir)
    try:
        return asyncio.run(_play(settings.base_url, key, arguments.model, arguments.message or _MESSAGE))
    except aiohttp.ClientConnectionError as error:
        raise CommandError(f"nothing answers at {settings.base_url}: is 'efferent up' running? ({error})") from error
    except TimeoutError as error:
        raise CommandError(f"the session was not idle within {_SESSION_WITHIN_S:.0f} s") from error


async def _play(base_url: str, key: str, model: str, message: str) -> int:
    timeout = aiohttp.ClientTimeout(total=_SESSION_WITHIN_S, sock_connect=5)
    headers = {**_HEADERS, "x-api-key": key}
    async with aiohttp.ClientSession(base_url, headers=headers, timeout=timeout, read_bufsize=_LINE_BYTES_MAX) as http:
        agent = await _create(
            http, "agents", {"name": "Demo", "model": model, "tools": [{"type": "agent_toolset_20260401"}]}
        )
        environment = await _create(http, "environments", {"name": f"demo-{agent['id'][-12:]}"})
        body = {"agent": agent["id"], "environment_id": environment["id"], "title": "Demo"}
        session = await _create(http, "sessions", body)
        print(f"{agent['id']}\n{environment['id']}\n{session['id']}\n", flush=True)
        async with http.get(f"/v1/sessions/{session['id']}/events/stream") as stream:
            await _check(stream)
            content = [{"type": "text", "text": message}]
            await _create(
                http, f"sessions/{session['id']}/events", {"events": [{"type": "user.message", "content": content}]}
            )
            return await _print_until_end(stream)


async def _print_until_end(stream: aiohttp.ClientResponse) -> int:
    async for event in _events(stream):
        print(describe(event), flush=True)
        if event["type"] in _ENDS:
            return 0 if event["type"] == "session.status_idle" else 1
    print("efferent: the server ended the stream", file=sys.stderr)
    return 1


async def _events(stream: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The events of a server-sent stream whose data is one line of JSON each."""
    async for line in stream.content:
        if line.startswith(b"data:"):
            yield orjson.loads(line.removeprefix(b"data:"))


def describe(event: dict[str, Any]) -> str:
    """One event for the eyes of a person."""
    kind = event["type"]
    match kind:
        case "user.message" | "agent.message" | "agent.tool_result":
            detail = "".join(block.get("text", f"[{block['type']}]") for block in event.get("content") or [])
        case "agent.tool_use":
            detail = f"{event['name']} {orjson.dumps(event['input']).decode()}"
        case "session.error":
            detail = event["error"].get("message", "")
        case "session.status_idle":
            detail = (event.get("stop_reason") or {}).get("type", "")
        case _:
            detail = ""
    detail = detail.strip()[:_TEXT_LENGTH_MAX].replace("\n", "\n    ")
    return f"{kind:<28} {detail}".rstrip()


async def _create(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with http.post(f"/v1/{path}", data=orjson.dumps(body), headers={"content-type": "application/json"}) as reply:
        await _check(reply)
        created: dict[str, Any] = orjson.loads(await reply.read())
        return created


async def _check(reply: aiohttp.ClientResponse) -> None:
    """Raise CommandError with the server's own words when it refused."""
    if reply.status < 400:
        return
    try:
        message = orjson.loads(await reply.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = "no error message"
    raise CommandError(f"{reply.method} {reply.url.path} was answered {reply.status}: {message}")


def _kept_key(data: Path) -> str:
    try:
        return (data / "api_key").read_text().strip()
    except OSError as error:
        raise CommandError(
            f"no API key: set EFFERENT_API_KEY, or EFFERENT_DATA_DIR to the server's folder ({error})"
        ) from error
