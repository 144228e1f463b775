"""The hands over gRPC: one channel for the life of the process, and the same call asked for again when it breaks."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Final

import grpc
import grpc.aio
import orjson
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from efferent.brain.adapters.hands_messages import collected, output_message, prepare_request
from efferent.brain.placements import Collected, Output, Placement
from efferent.brain.ports import HandsUnavailable, OutputGone, PlacementMissing, ToolOutcome
from efferent.common.domain.content import DocumentBlock, ImageBlock, TextBlock
from efferent.common.domain.ids import EventId, SessionId
from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api.sandbox_pb2_grpc import SandboxesStub

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
GIVE_UP_AFTER_S: Final = 10.0
"""How long the hands may stay away before the caller is told; a call that runs is waited for as long as it takes."""
CONTROL_TIMEOUT_S: Final = 10.0
PREPARE_TIMEOUT_S: Final = 120.0
"""Large files take their time."""

_RETRY_S: Final = 0.05
_RETRY_S_MAX: Final = 1.0
_FINAL: Final = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
"""Answers that another try with the same request cannot change."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # gRPC's own pauses between connection attempts grow to two minutes; hands are back within seconds.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a word (a lost machine) is noticed although no data flows.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_Block = Annotated[TextBlock | ImageBlock | DocumentBlock, Field(discriminator="type")]
_BLOCKS: Final[TypeAdapter[tuple[_Block, ...]]] = TypeAdapter(tuple[_Block, ...])


class GrpcHands:
    """Implements ``efferent.brain.ports.Hands``."""

    def __init__(
        self,
        address: str,
        *,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        on_output: Callable[[EventId, bytes], None] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``address``: host:port or ``unix:<path>``. Connects when first used; make it inside the event loop."""
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = SandboxesStub(self._channel)
        self._give_up_after_s = give_up_after_s
        self._on_output = on_output
        self._monotonic_s = monotonic_s

    async def execute(
        self,
        session_id: SessionId,
        call_id: EventId,
        tool: str,
        arguments: dict[str, JsonValue],
        *,
        placement: str = "",
    ) -> ToolOutcome:
        """Run the call once, or attach to it, or fetch its recorded result.

        Raises PlacementMissing, HandsUnavailable.
        """
        request = wire.ExecuteRequest(
            session_id=session_id,
            call_id=call_id,
            tool=tool,
            input_json=orjson.dumps(arguments).decode(),
            placement=placement,
        )
        away = _Away(self._give_up_after_s, self._monotonic_s)
        while True:
            try:
                return await self._attempt(request, call_id, away.back)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    raise PlacementMissing("the session's files are not placed") from error
                if error.code() in _FINAL:
                    raise HandsUnavailable(f"{error.code().name}: {error.details()}") from error
                await away.pause(error)

    async def prepare(self, session_id: SessionId, placement: Placement) -> None:
        """Place exactly this in the session's sandbox. Raises HandsUnavailable."""
        request = prepare_request(session_id, placement)
        await self._again(lambda: self._stub.Prepare(request, timeout=PREPARE_TIMEOUT_S))

    async def collect(self, session_id: SessionId) -> Collected:
        """What the session's tools have made. Raises HandsUnavailable."""
        request = wire.CollectRequest(session_id=session_id)
        return collected(await self._again(lambda: self._stub.Collect(request, timeout=3 * CONTROL_TIMEOUT_S)))

    async def read_output(self, session_id: SessionId, output: Output) -> AsyncGenerator[bytes, None]:
        """The bytes of an output. Raises OutputGone, HandsUnavailable."""
        request = wire.ReadOutputRequest(session_id=session_id, path=output.path, stamp=output.stamp)
        try:
            async for chunk in self._stub.ReadOutput(request):
                yield chunk.data
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise OutputGone(output.path) from error
            raise HandsUnavailable(f"{error.code().name}: {error.details()}") from error

    async def settle(self, session_id: SessionId, outputs: tuple[Output, ...]) -> None:
        """These outputs are kept. Raises HandsUnavailable."""
        request = wire.SettleRequest(session_id=session_id, outputs=[output_message(output) for output in outputs])
        await self._again(lambda: self._stub.Settle(request, timeout=CONTROL_TIMEOUT_S))

    async def cancel(self, session_id: SessionId, call_id: EventId) -> None:
        """Stop the call when it runs. Raises HandsUnavailable."""
        request = wire.CancelRequest(session_id=session_id, call_id=call_id)
        await self._again(lambda: self._stub.Cancel(request, timeout=CONTROL_TIMEOUT_S))

    async def release(self, session_id: SessionId) -> None:
        """Delete everything that the session has in the hands. Raises HandsUnavailable."""
        request = wire.ReleaseRequest(session_id=session_id)
        await self._again(lambda: self._stub.Release(request, timeout=3 * CONTROL_TIMEOUT_S))

    async def check(self) -> str | None:
        """None when tool calls can run, else why not and what to do. Raises HandsUnavailable."""
        answer = await self._again(lambda: self._stub.Check(wire.CheckRequest(), timeout=2 * CONTROL_TIMEOUT_S))
        return None if answer.ready else answer.reason

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _attempt(
        self, request: wire.ExecuteRequest, call_id: EventId, on_contact: Callable[[], None]
    ) -> ToolOutcome:
        async for event in self._stub.Execute(request):
            on_contact()
            if event.HasField("result"):
                return _outcome(event.result)
            if self._on_output is not None:
                self._on_output(call_id, event.output.data)
        raise HandsUnavailable("the hands ended the stream without a result")

    async def _again[Answer](self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        away = _Away(self._give_up_after_s, self._monotonic_s)
        while True:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() in _FINAL:
                    raise HandsUnavailable(f"{error.code().name}: {error.details()}") from error
                await away.pause(error)


class _Away:
    """How long the hands have not been heard of, and the pauses between tries."""

    def __init__(self, give_up_after_s: float, monotonic_s: Callable[[], float]) -> None:
        self._give_up_after_s = give_up_after_s
        self._monotonic_s = monotonic_s
        self.back()

    def back(self) -> None:
        """They were heard of."""
        self._since_s: float | None = None
        self._pause_s = _RETRY_S

    async def pause(self, error: grpc.aio.AioRpcError) -> None:
        """Wait before the next try. Raises HandsUnavailable when there should be none."""
        now_s = self._monotonic_s()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s + self._pause_s - self._since_s > self._give_up_after_s:
            raise HandsUnavailable(f"{error.code().name}: {error.details()}") from error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _RETRY_S_MAX)


def _outcome(result: wire.CallResult) -> ToolOutcome:
    try:
        return ToolOutcome(_BLOCKS.validate_json(result.content_json), result.is_error)
    except ValidationError as error:
        raise HandsUnavailable(f"the hands sent a result of an unknown shape: {error.title}") from error
