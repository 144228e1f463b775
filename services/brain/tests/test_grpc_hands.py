"""The brain's client of the hands, against a real gRPC server whose answers the test scripts."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
import pytest

from efferent.brain.adapters.grpc_hands import GrpcHands
from efferent.brain.ports import HandsUnavailable, ToolOutcome
from efferent.common.domain.content import ImageBlock, TextBlock
from efferent.common.domain.ids import EventId, SessionId
from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api import sandbox_pb2_grpc

SESSION = SessionId("sesn_a")
CALL = EventId("sevt_a")

Talk = Callable[..., Awaitable[GrpcHands]]
Step = Callable[[wire.ExecuteRequest], AsyncIterator[wire.ExecuteEvent]]


class Scripted(sandbox_pb2_grpc.SandboxesServicer):
    """Answers each Execute with the next step, the last one again and again."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[wire.ExecuteRequest] = []
        self.was_asked = asyncio.Event()
        self.cancelled: list[str] = []

    async def Execute(
        self, request: wire.ExecuteRequest, context: "grpc.aio.ServicerContext[wire.ExecuteRequest, wire.ExecuteEvent]"
    ) -> AsyncIterator[wire.ExecuteEvent]:
        self.asked.append(request)
        self.was_asked.set()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        try:
            async for event in step(request):
                yield event
        except Refused as refused:
            await context.abort(refused.code, "refused")

    async def Cancel(
        self, request: wire.CancelRequest, context: "grpc.aio.ServicerContext[wire.CancelRequest, wire.CancelResponse]"
    ) -> wire.CancelResponse:
        self.cancelled.append(request.call_id)
        return wire.CancelResponse()

    async def Check(
        self, request: wire.CheckRequest, context: "grpc.aio.ServicerContext[wire.CheckRequest, wire.CheckResponse]"
    ) -> wire.CheckResponse:
        return wire.CheckResponse(ready=False, reason="no namespaces")


class Refused(Exception):
    """Ends a call with a status."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self.code = code


def text(said: str, *, is_error: bool = False) -> wire.ExecuteEvent:
    """A result of one text."""
    content = json.dumps([{"type": "text", "text": said}])
    return wire.ExecuteEvent(result=wire.CallResult(content_json=content, is_error=is_error))


async def answer(request: wire.ExecuteRequest) -> AsyncIterator[wire.ExecuteEvent]:
    """Output, then a result."""
    yield wire.ExecuteEvent(output=wire.OutputChunk(data=b"out"))
    yield text("done")


async def refuse(request: wire.ExecuteRequest) -> AsyncIterator[wire.ExecuteEvent]:
    """The hands are stopping."""
    yield wire.ExecuteEvent(output=wire.OutputChunk(data=b"half"))
    raise Refused(grpc.StatusCode.UNAVAILABLE)


async def malformed(request: wire.ExecuteRequest) -> AsyncIterator[wire.ExecuteEvent]:
    """The request itself is wrong."""
    raise Refused(grpc.StatusCode.INVALID_ARGUMENT)
    yield text("never")


async def nothing(request: wire.ExecuteRequest) -> AsyncIterator[wire.ExecuteEvent]:
    """A stream that ends without a result."""
    return
    yield text("never")


async def picture(request: wire.ExecuteRequest) -> AsyncIterator[wire.ExecuteEvent]:
    """A large result that is not text."""
    source = {"type": "base64", "media_type": "image/png", "data": "A" * (6 << 20)}
    content = json.dumps([{"type": "image", "source": source}])
    yield wire.ExecuteEvent(result=wire.CallResult(content_json=content))


async def serve(servicer: Scripted, address: str = "127.0.0.1:0") -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 1 << 26)])
    sandbox_pb2_grpc.add_SandboxesServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    """Starts a scripted server and gives a client of it."""
    servers: list[grpc.aio.Server] = []
    clients: list[GrpcHands] = []

    async def start(servicer: Scripted, give_up_after_s: float = 5.0) -> GrpcHands:
        server, port = await serve(servicer)
        servers.append(server)
        clients.append(GrpcHands(f"127.0.0.1:{port}", give_up_after_s=give_up_after_s))
        return clients[-1]

    yield start
    for client in clients:
        await client.close()
    for server in servers:
        await server.stop(0)


async def test_call_is_passed_on_and_its_result_given_back(talk: Talk) -> None:
    servicer = Scripted(answer)
    hands = await talk(servicer)
    assert await hands.execute(SESSION, CALL, "bash", {"command": "é"}) == ToolOutcome((TextBlock(text="done"),), False)
    [asked] = servicer.asked
    assert (asked.session_id, asked.call_id, asked.tool) == ("sesn_a", "sevt_a", "bash")
    assert json.loads(asked.input_json) == {"command": "é"}


async def test_broken_stream_is_asked_for_again_with_the_same_call(talk: Talk) -> None:
    servicer = Scripted(refuse, refuse, answer)
    outcome = await (await talk(servicer)).execute(SESSION, CALL, "bash", {})
    assert outcome.content == (TextBlock(text="done"),)
    assert [asked.call_id for asked in servicer.asked] == ["sevt_a"] * 3


async def test_hands_that_stay_away_are_given_up() -> None:
    hands = GrpcHands("127.0.0.1:1", give_up_after_s=0.3)
    with pytest.raises(HandsUnavailable, match="UNAVAILABLE"):
        await hands.execute(SESSION, CALL, "bash", {})
    with pytest.raises(HandsUnavailable):
        await hands.cancel(SESSION, CALL)
    with pytest.raises(HandsUnavailable):
        await hands.check()
    await hands.close()


async def test_hands_that_come_back_within_the_time_are_found_again() -> None:
    first = Scripted(refuse)
    server, port = await serve(first)
    hands = GrpcHands(f"127.0.0.1:{port}", give_up_after_s=20)
    asked = asyncio.create_task(hands.execute(SESSION, CALL, "bash", {}))
    await asyncio.wait_for(first.was_asked.wait(), 10)
    await server.stop(0)
    server, _ = await serve(Scripted(answer), f"127.0.0.1:{port}")
    assert (await asked).content == (TextBlock(text="done"),)
    await hands.close()
    await server.stop(0)


@pytest.mark.parametrize("step", [malformed, nothing])
async def test_answers_that_trying_again_cannot_change_are_told_at_once(talk: Talk, step: Step) -> None:
    servicer = Scripted(step)
    with pytest.raises(HandsUnavailable):
        await (await talk(servicer)).execute(SESSION, CALL, "bash", {})
    assert len(servicer.asked) == 1


async def test_large_blocks_pass(talk: Talk) -> None:
    outcome = await (await talk(Scripted(picture))).execute(SESSION, CALL, "read", {})
    [block] = outcome.content
    assert isinstance(block, ImageBlock)


async def test_cancel_and_check_are_passed_on(talk: Talk) -> None:
    servicer = Scripted(answer)
    hands = await talk(servicer)
    await hands.cancel(SESSION, CALL)
    assert servicer.cancelled == ["sevt_a"]
    assert await hands.check() == "no namespaces"
