"""What the gateway asks of the hands: whether calls can run there, and to delete a deleted session's sandbox."""

from typing import TYPE_CHECKING, Final

from efferent.common.domain.ids import SessionId
from efferent.common.ports import Clock
from efferent.gateway.sessions.deletion import NotReleased

if TYPE_CHECKING:
    import grpc.aio

    from efferent.common.hands_api.sandbox_pb2_grpc import SandboxesStub

VERDICT_KEPT_S: Final = 5.0
"""How long a good verdict is believed; a bad one is asked for again each time."""
CHECK_WITHIN_S: Final = 2.5
RELEASE_WITHIN_S: Final = 10.0


class GatewayHands:
    """The questions, over one channel that is opened by the first of them."""

    def __init__(self, address: str, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._good_until_s = float("-inf")

    async def check(self) -> str | None:
        """None when tool calls can run, else why not and what to do about it."""
        if self._clock.monotonic_s() < self._good_until_s:
            return None
        import grpc.aio

        from efferent.common.hands_api import sandbox_pb2

        try:
            answer = await self._stub().Check(sandbox_pb2.CheckRequest(), timeout=CHECK_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            return f"the hands do not answer: {error.code().name.lower()}"
        if not answer.ready:
            return answer.reason or "the hands cannot run tool calls"
        self._good_until_s = self._clock.monotonic_s() + VERDICT_KEPT_S
        return None

    async def release(self, session_id: SessionId) -> None:
        """Delete the session's sandbox, workspace and journal; repeating it is harmless. Raises NotReleased."""
        import grpc.aio

        from efferent.common.hands_api import sandbox_pb2

        try:
            await self._stub().Release(sandbox_pb2.ReleaseRequest(session_id=session_id), timeout=RELEASE_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            raise NotReleased(f"the hands do not answer: {error.code().name.lower()}") from error

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _stub(self) -> "SandboxesStub":
        import grpc.aio

        from efferent.common.hands_api.sandbox_pb2_grpc import SandboxesStub

        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address)
        return SandboxesStub(self._channel)
