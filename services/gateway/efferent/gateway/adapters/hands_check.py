"""Asks the hands whether tool calls can run where they are; nothing else is asked of them by the gateway."""

from typing import TYPE_CHECKING, Final

from efferent.common.ports import Clock

if TYPE_CHECKING:
    import grpc.aio

VERDICT_KEPT_S: Final = 5.0
"""How long a good verdict is believed; a bad one is asked for again each time."""
ANSWER_WITHIN_S: Final = 2.5


class HandsCheck:
    """The question, over one channel."""

    def __init__(self, address: str, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._good_until_s = float("-inf")

    async def check(self) -> str | None:
        """None when tool calls can run, else why not and what to do about it."""
        if self._clock.monotonic_s() < self._good_until_s:
            return None
        import grpc

        from efferent.common.hands_api import sandbox_pb2, sandbox_pb2_grpc

        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address)
        stub = sandbox_pb2_grpc.SandboxesStub(self._channel)
        try:
            answer = await stub.Check(sandbox_pb2.CheckRequest(), timeout=ANSWER_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            return f"the hands do not answer: {error.code().name.lower()}"
        if not answer.ready:
            return answer.reason or "the hands cannot run tool calls"
        self._good_until_s = self._clock.monotonic_s() + VERDICT_KEPT_S
        return None

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
