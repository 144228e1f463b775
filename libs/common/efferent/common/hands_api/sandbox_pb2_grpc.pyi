"""Types of the generated service code; written by tools/generate_proto.py."""

from collections.abc import AsyncIterator

import grpc.aio

from efferent.common.hands_api import sandbox_pb2

class SandboxesStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    Execute: grpc.aio.UnaryStreamMultiCallable[sandbox_pb2.ExecuteRequest, sandbox_pb2.ExecuteEvent]
    Cancel: grpc.aio.UnaryUnaryMultiCallable[sandbox_pb2.CancelRequest, sandbox_pb2.CancelResponse]
    Release: grpc.aio.UnaryUnaryMultiCallable[sandbox_pb2.ReleaseRequest, sandbox_pb2.ReleaseResponse]
    Check: grpc.aio.UnaryUnaryMultiCallable[sandbox_pb2.CheckRequest, sandbox_pb2.CheckResponse]

class SandboxesServicer:
    def Execute(self, request: sandbox_pb2.ExecuteRequest, context: grpc.aio.ServicerContext[sandbox_pb2.ExecuteRequest, sandbox_pb2.ExecuteEvent]) -> AsyncIterator[sandbox_pb2.ExecuteEvent]: ...
    async def Cancel(self, request: sandbox_pb2.CancelRequest, context: grpc.aio.ServicerContext[sandbox_pb2.CancelRequest, sandbox_pb2.CancelResponse]) -> sandbox_pb2.CancelResponse: ...
    async def Release(self, request: sandbox_pb2.ReleaseRequest, context: grpc.aio.ServicerContext[sandbox_pb2.ReleaseRequest, sandbox_pb2.ReleaseResponse]) -> sandbox_pb2.ReleaseResponse: ...
    async def Check(self, request: sandbox_pb2.CheckRequest, context: grpc.aio.ServicerContext[sandbox_pb2.CheckRequest, sandbox_pb2.CheckResponse]) -> sandbox_pb2.CheckResponse: ...

def add_SandboxesServicer_to_server(servicer: SandboxesServicer, server: grpc.aio.Server) -> None: ...
