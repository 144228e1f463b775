"""A client of real hands for tests, and what a test knows of hands that it started."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
import orjson
from pydantic import JsonValue

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api.sandbox_pb2_grpc import SandboxesStub
from efferent.hands.app import Hands

SESSION = "sesn_one"


class Outcome:
    """What a call was answered with."""

    def __init__(self, result: wire.CallResult, streamed: bytes) -> None:
        self.blocks = orjson.loads(result.content_json)
        self.is_error = result.is_error
        self.streamed = streamed

    @property
    def text(self) -> str:
        """The text of the only block."""
        [block] = self.blocks
        assert block["type"] == "text", block["type"]
        return str(block["text"])

    def ok(self) -> str:
        """The text of a call that went well."""
        assert not self.is_error, self.text
        return self.text

    def error(self) -> str:
        """The text of a call that did not."""
        assert self.is_error, self.text
        return self.text


class Client:
    """Asks hands over gRPC."""

    def __init__(self, address: str) -> None:
        limits = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]
        self._channel = grpc.aio.insecure_channel(address, options=limits)
        self.stub = SandboxesStub(self._channel)
        self._numbers = itertools.count(1)

    async def execute(
        self,
        tool: str,
        arguments: dict[str, JsonValue],
        *,
        call: str | None = None,
        session: str = SESSION,
        placement: str = "",
        on_output: Callable[[bytes], None] = lambda _: None,
    ) -> Outcome:
        """Run a call and wait for its result."""
        request = wire.ExecuteRequest(
            session_id=session,
            call_id=call or f"sevt_auto{next(self._numbers)}",
            tool=tool,
            input_json=orjson.dumps(arguments).decode(),
            placement=placement,
        )
        streamed = bytearray()
        async for event in self.stub.Execute(request):
            if event.HasField("result"):
                return Outcome(event.result, bytes(streamed))
            streamed += event.output.data
            on_output(event.output.data)
        raise AssertionError("no result")

    async def bash(self, command: str, *, timeout_ms: int | None = None, session: str = SESSION) -> Outcome:
        """Run a command."""
        arguments: dict[str, JsonValue] = {"command": command}
        if timeout_ms is not None:
            arguments["timeout_ms"] = timeout_ms
        return await self.execute("bash", arguments, session=session)

    async def release(self, session: str = SESSION) -> None:
        """Delete the session."""
        await self.stub.Release(wire.ReleaseRequest(session_id=session))

    async def cancel(self, call: str, session: str = SESSION) -> None:
        """Stop a call."""
        await self.stub.Cancel(wire.CancelRequest(session_id=session, call_id=call))

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class Running:
    """A started service and a client of it."""

    def __init__(self, service: Hands, client: Client, folder: Path) -> None:
        self.service = service
        self.client = client
        self.folder = folder

    def session_folder(self, session: str = SESSION) -> Path:
        """The session's folder on the host."""
        return self.folder / "hands" / "sessions" / session


Start = Callable[..., Awaitable[Running]]
"""Starts hands; keyword arguments are settings, and ``data_dir``."""


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Return when something outside of the event loop has come true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  nothing tells the event loop
            await asyncio.sleep(0.01)
