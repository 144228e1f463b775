"""The gRPC face of the hands: checks what is asked and passes it on."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api import sandbox_pb2_grpc
from efferent.hands.folder import is_session_id
from efferent.hands.readiness import Readiness
from efferent.hands.session import RunningCall, TooManyCalls, is_call_id
from efferent.hands.sessions import Sessions


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
            call = session.call(request.call_id, request.tool, request.input_json)
            async for event in _events(call):
                yield event
        except TooManyCalls as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except (OSError, ValueError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the call journal cannot be used: {error}")

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
