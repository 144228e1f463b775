"""The gRPC face of the hands: checks what is asked and passes it on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api import sandbox_pb2_grpc
from efferent.hands import placement_wire
from efferent.hands.collector import collect, keep, output_chunks
from efferent.hands.folder import SessionFolder, is_session_id
from efferent.hands.placer import TooMuch
from efferent.hands.readiness import Readiness
from efferent.hands.session import RunningCall, TooManyCalls, is_call_id
from efferent.hands.sessions import Sessions
from efferent.hands.trees import NotThere


class SandboxesServicer(sandbox_pb2_grpc.SandboxesServicer):
    """Implements the service ``efferent.hands.v1.Sandboxes``."""

    def __init__(self, sessions: Sessions, readiness: Readiness, backend: str) -> None:
        self._sessions = sessions
        self._readiness = readiness
        self._backend = backend
        self.is_draining = False

    async def Execute(
        self,
        request: wire.ExecuteRequest,
        context: "grpc.aio.ServicerContext[wire.ExecuteRequest, wire.ExecuteEvent]",
    ) -> AsyncIterator[wire.ExecuteEvent]:
        """Output as it comes, then the result. A caller that goes away does not stop the call."""
        if not is_session_id(request.session_id) or not is_call_id(request.call_id):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed session_id or call_id")
        if self.is_draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the hands are stopping")
        try:
            session = await self._sessions.get(request.session_id)
            if await session.placer.name() != request.placement:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another placement is there")
            call = session.call(request.call_id, request.tool, request.input_json)
            async for event in _events(call):
                yield event
        except TooManyCalls as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except (OSError, ValueError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the call journal cannot be used: {error}")

    async def Prepare(
        self,
        request: wire.PrepareRequest,
        context: "grpc.aio.ServicerContext[wire.PrepareRequest, wire.PrepareResponse]",
    ) -> wire.PrepareResponse:
        """Place files, skills and memories."""
        if not is_session_id(request.session_id):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed session_id")
        try:
            wanted = placement_wire.wanted(request)
            await (await self._sessions.get(request.session_id)).placer.place(wanted)
        except placement_wire.Malformed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TooMuch as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except (OSError, ValueError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the session's files cannot be placed: {error}")
        return wire.PrepareResponse()

    async def Collect(
        self,
        request: wire.CollectRequest,
        context: "grpc.aio.ServicerContext[wire.CollectRequest, wire.CollectResponse]",
    ) -> wire.CollectResponse:
        """What the session's tools have made."""
        folder = await self._folder(request.session_id, context)
        try:
            return placement_wire.collected(await asyncio.to_thread(collect, folder))
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the session's files cannot be read: {error}")

    async def ReadOutput(
        self,
        request: wire.ReadOutputRequest,
        context: "grpc.aio.ServicerContext[wire.ReadOutputRequest, wire.OutputChunk]",
    ) -> AsyncIterator[wire.OutputChunk]:
        """The bytes of an output."""
        chunks = output_chunks(await self._folder(request.session_id, context), request.path, request.stamp)
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield wire.OutputChunk(data=chunk)
        except NotThere:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such output any more")
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the output cannot be read: {error}")

    async def Settle(
        self, request: wire.SettleRequest, context: "grpc.aio.ServicerContext[wire.SettleRequest, wire.SettleResponse]"
    ) -> wire.SettleResponse:
        """These outputs are kept elsewhere."""
        folder = await self._folder(request.session_id, context)
        try:
            await asyncio.to_thread(keep, folder, {output.path: output.stamp for output in request.outputs})
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"this cannot be remembered: {error}")
        return wire.SettleResponse()

    async def _folder(self, session_id: str, context: "grpc.aio.ServicerContext[Any, Any]") -> SessionFolder:
        if not is_session_id(session_id):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed session_id")
        return self._sessions.folder(session_id)

    async def Cancel(
        self, request: wire.CancelRequest, context: "grpc.aio.ServicerContext[wire.CancelRequest, wire.CancelResponse]"
    ) -> wire.CancelResponse:
        """Stop a running call."""
        if (session := self._sessions.find(request.session_id)) is not None:
            session.cancel(request.call_id)
        return wire.CancelResponse()

    async def Release(
        self,
        request: wire.ReleaseRequest,
        context: "grpc.aio.ServicerContext[wire.ReleaseRequest, wire.ReleaseResponse]",
    ) -> wire.ReleaseResponse:
        """Delete everything that the session has."""
        if not is_session_id(request.session_id):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed session_id")
        try:
            await self._sessions.release(request.session_id)
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the session's files cannot be deleted: {error}")
        return wire.ReleaseResponse()

    async def Check(
        self, request: wire.CheckRequest, context: "grpc.aio.ServicerContext[wire.CheckRequest, wire.CheckResponse]"
    ) -> wire.CheckResponse:
        """Tell whether calls can run here."""
        verdict = await self._readiness.check()
        return wire.CheckResponse(ready=verdict.is_ready, reason=verdict.reason, backend=self._backend)


async def _events(call: RunningCall) -> AsyncIterator[wire.ExecuteEvent]:
    queue = call.listen()
    waiting: asyncio.Task[bytes] | None = None
    try:
        while not call.answer.done():
            waiting = asyncio.create_task(queue.get())
            await asyncio.wait([waiting, call.answer], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                yield _output(waiting.result())
        while not queue.empty():
            yield _output(queue.get_nowait())
    finally:
        call.listeners.discard(queue)
        if waiting is not None:
            waiting.cancel()
    result = call.answer.result()
    yield wire.ExecuteEvent(result=wire.CallResult(content_json=result.content_json, is_error=result.is_error))


def _output(data: bytes) -> wire.ExecuteEvent:
    return wire.ExecuteEvent(output=wire.OutputChunk(data=data))
