"""The least that a turn can be made of, with nothing but client libraries: what the ratios of all figures refer to.

    client --POST--> edge --append--> nats-server --republish--> worker --append, ask the model, append--> nats-server
    client <--one SSE frame-- edge <--republish-- nats-server

Two processes, as gateway and brain are, a nats-server with the server's own configuration, and the same scripted model.
Nothing is validated, decided, folded, indexed or logged. A message that asks for a tool costs two requests to the model
and five appends, as it does in the server; the tool itself is not run.

``python -m tests.bench.floor edge|worker`` runs one of the two processes until its standard input ends.
"""

import argparse
import asyncio
import secrets
import sys
from typing import Any, Final

import aiohttp
import nats
import orjson
from aiohttp import web
from nats.aio.client import Client as Nats

STREAM: Final = "FLOOR"
RECORD: Final = b'{"v":1,"text":"' + b"x" * 980 + b'"}'
"""What is appended: as long as a record of a text turn is on average."""
LAST_RECORD: Final = RECORD[:-1] + b',"type":"session.status_idle"}'
_ANSWER: Final = b'{"data":[]}'
_SSE_HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_FENCE: Final = "Nats-Expected-Last-Subject-Sequence-Subject"


async def append(nc: Nats, session_id: str, side: str, payload: bytes, expected: int) -> int:
    """One fenced append. Raises RuntimeError when it is refused."""
    headers = {_EXPECTED: str(expected), _FENCE: f"floor.{session_id}.*", "Nats-Msg-Id": secrets.token_hex(12)}
    answer = await nc.request(f"floor.{session_id}.{side}", payload, timeout=10, headers=headers)
    acknowledged = orjson.loads(answer.data)
    if "seq" not in acknowledged:
        raise RuntimeError(f"append: {acknowledged}")
    return int(acknowledged["seq"])


async def declare(nc: Nats) -> None:
    """Make the stream, configured like the server's."""
    config = {
        "name": STREAM,
        "subjects": ["floor.*.in", "floor.*.out"],
        "storage": "file",
        "discard": "new",
        "allow_direct": True,
        "republish": {"src": ">", "dest": "live.>"},
    }
    answer = orjson.loads((await nc.request(f"$JS.API.STREAM.CREATE.{STREAM}", orjson.dumps(config), timeout=10)).data)
    if "error" in answer:
        raise RuntimeError(f"stream: {answer}")


class Edge:
    """Takes messages, streams what is committed."""

    def __init__(self, nc: Nats) -> None:
        self._nc = nc
        self._last: dict[str, int] = {}
        self._readers: dict[str, set[web.StreamResponse]] = {}

    async def serve(self) -> str:
        """Listen on a free port; the base URL."""
        await self._nc.subscribe("live.floor.*.out", cb=self._committed)
        app = web.Application()
        app.router.add_post("/echo", self._echo)
        app.router.add_post("/v1/sessions", self._create)
        app.router.add_post("/v1/sessions/{id}/events", self._send)
        app.router.add_get("/v1/sessions/{id}/events/stream", self._stream)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type="application/json")

    async def _create(self, request: web.Request) -> web.Response:
        await request.read()
        session_id = f"sesn_{secrets.token_hex(12)}"
        self._last[session_id] = await append(self._nc, session_id, "out", RECORD, 0)
        return web.Response(body=orjson.dumps({"id": session_id}), content_type="application/json")

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.read()
        session_id = request.match_info["id"]
        await append(self._nc, session_id, "in", RECORD + body, self._last[session_id])
        return web.Response(body=_ANSWER, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_SSE_HEADERS)
        await response.prepare(request)
        readers = self._readers.setdefault(request.match_info["id"], set())
        readers.add(response)
        try:
            await asyncio.Event().wait()
        finally:
            readers.discard(response)
        return response

    async def _committed(self, message: Any) -> None:
        session_id = message.subject.split(".")[2]
        self._last[session_id] = int(message.headers["Nats-Sequence"])
        if message.data == LAST_RECORD:
            frame = b"event: message\ndata: %b\n\n" % message.data
            for reader in tuple(self._readers.get(session_id, ())):
                await reader.write(frame)


class Worker:
    """Answers each message with the model's help."""

    def __init__(self, nc: Nats, model_url: str, http: aiohttp.ClientSession) -> None:
        self._nc = nc
        self._url = f"{model_url}/v1/messages"
        self._http = http
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take messages from now on."""
        await self._nc.subscribe("live.floor.*.in", cb=self._received)
        await self._nc.flush()

    async def _received(self, message: Any) -> None:
        task = asyncio.create_task(self._turn(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _turn(self, message: Any) -> None:
        session_id, sequence = message.subject.split(".")[2], int(message.headers["Nats-Sequence"])
        sent = orjson.loads(message.data[len(RECORD) :])["events"][0]["content"][0]["text"]
        history: list[dict[str, Any]] = [{"role": "user", "content": sent}]
        sequence = await append(self._nc, session_id, "out", RECORD, sequence)
        await self.ask(history)
        if "script:" in sent:
            sequence = await append(self._nc, session_id, "out", RECORD, sequence)
            sequence = await append(self._nc, session_id, "out", RECORD, sequence)
            call = {"type": "tool_use", "id": "toolu_0", "name": "bash", "input": {}}
            result = {"type": "tool_result", "tool_use_id": "toolu_0", "content": "done"}
            history += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
            await self.ask(history)
        await append(self._nc, session_id, "out", LAST_RECORD, sequence)

    async def ask(self, history: list[dict[str, Any]]) -> None:
        """One streaming request to the model, read to its end."""
        await ask(self._http, self._url, history)


async def ask(http: aiohttp.ClientSession, url: str, history: list[dict[str, Any]]) -> None:
    """One streaming model request by bare aiohttp. Raises RuntimeError when it fails."""
    body = orjson.dumps({"model": "claude-sonnet-5-5", "max_tokens": 1000, "stream": True, "messages": history})
    async with http.post(url, data=body, headers={"content-type": "application/json"}) as response:
        last = b""
        async for chunk in response.content.iter_any():
            last = chunk
        if b"message_stop" not in last:
            raise RuntimeError(f"the model: {response.status} {last[-200:]!r}")


async def _run(options: argparse.Namespace) -> None:
    nc = await nats.connect(options.nats, token=options.token)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        if options.part == "edge":
            await declare(nc)
            print(await Edge(nc).serve(), flush=True)
        else:
            await Worker(nc, options.model, http).serve()
            print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await nc.close()


def _main() -> None:
    parser = argparse.ArgumentParser(description="One process of the floor.")
    parser.add_argument("part", choices=("edge", "worker"))
    parser.add_argument("--nats", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--model", required=True)
    import uvloop

    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    _main()
