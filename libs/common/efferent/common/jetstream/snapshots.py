"""Whole streams out of a server and into another: JetStream's own snapshots, which keep sequences and consumers.

A snapshot goes through this process in chunks that it acknowledges one by one, so a slow reader slows the server down
instead of filling memory.
"""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection, Message, RequestFailed
from efferent.common.ports import LogUnavailable

CHUNK_BYTES: Final = 128 * 1024
CHUNK_WITHIN_S: Final = 30.0
"""How long the server may take for one chunk, or to take one in."""
FINISH_WITHIN_S: Final = 600.0
"""How long the server may take to check and open a stream that was sent to it."""

_CONTINUE: Final = frozenset({None, "100"})


@dataclass(frozen=True, slots=True)
class StreamAs:
    """What a stream was when its snapshot was taken."""

    name: str
    config: dict[str, Any]
    state: dict[str, Any]

    @property
    def messages(self) -> int:
        """Messages in it."""
        return int(self.state.get("messages", 0))

    @property
    def last_sequence(self) -> int:
        """Sequence of its newest message; 0 when it never had one."""
        return int(self.state.get("last_seq", 0))


async def streams_on_disk(connection: Connection) -> list[str]:
    """The names of the server's own streams on disk that are there. Raises LogUnavailable, ApiError.

    A NATS that is shared with others holds streams of theirs, which are nobody's business here.
    """

    async def is_there(name: str) -> bool:
        try:
            await api.call_once(connection, f"STREAM.INFO.{name}", {})
        except api.ApiError as error:
            if error.error != api.STREAM_NOT_FOUND:
                raise
            return False
        return True

    found: list[str] = []
    for name in subjects.ON_DISK:
        deadline = api.Deadline.after(api.DEADLINE_S)
        if await api.retrying(connection, deadline, functools.partial(is_there, name)):
            found.append(name)
    return found


@contextlib.asynccontextmanager
async def snapshot(connection: Connection, name: str) -> AsyncGenerator[tuple[StreamAs, AsyncGenerator[bytes]]]:
    """A stream's snapshot: what it is, and the chunks, to be read to their end. Raises LogUnavailable, ApiError."""
    receiver = _Receiver(connection)
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, receiver.take)
    try:
        body = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES, "no_consumers": False}
        answer = await api.call(connection, f"STREAM.SNAPSHOT.{name}", body, deadline_s=CHUNK_WITHIN_S)
        yield StreamAs(name, answer["config"], answer["state"]), receiver.chunks()
    finally:
        await subscription.end()


async def restore(connection: Connection, stream: StreamAs, chunks: AsyncIterable[bytes], *, replicas: int) -> None:
    """Make a stream from the chunks of a snapshot; there must be none of its name.

    When ``chunks`` raises, no stream is made. Raises LogUnavailable, ApiError, and what ``chunks`` raises.
    """
    config = stream.config | {"num_replicas": replicas}
    body = {"config": config, "state": stream.state}
    answer = await api.call(connection, f"STREAM.RESTORE.{stream.name}", body, deadline_s=CHUNK_WITHIN_S)
    inbox: str = answer["deliver_subject"]
    try:
        try:
            async for chunk in chunks:
                if chunk:
                    _check(await connection.request(inbox, chunk, timeout_s=CHUNK_WITHIN_S))
        except BaseException:
            # The server holds the name for what is still to come. An early end frees it, and leaves what came so far.
            with contextlib.suppress(RequestFailed, LogUnavailable, api.ApiError):
                await connection.request(inbox, b"", timeout_s=CHUNK_WITHIN_S)
                await delete_stream(connection, stream.name)
            raise
        _check(await connection.request(inbox, b"", timeout_s=FINISH_WITHIN_S))
        info = await api.call(connection, f"STREAM.INFO.{stream.name}", {})
        restored = StreamAs(stream.name, info["config"], info["state"])
        if (restored.messages, restored.last_sequence) != (stream.messages, stream.last_sequence):
            await delete_stream(connection, stream.name)
            raise LogUnavailable(f"the stream {stream.name} did not come back whole")
    except RequestFailed as error:
        raise LogUnavailable(f"the stream {stream.name} was not taken in: {error}") from error


async def delete_stream(connection: Connection, name: str) -> None:
    """Delete a stream; repeating it is harmless. Raises LogUnavailable, ApiError."""
    if name in await streams_on_disk(connection):
        await api.call(connection, f"STREAM.DELETE.{name}", {})


class _Receiver:
    """Chunks as they come in; the server sends on when earlier ones are acknowledged, so few wait here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Message] = deque()
        self._came = asyncio.Event()

    def take(self, message: Message) -> None:
        """A message of the snapshot came in."""
        self._waiting.append(message)
        self._came.set()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The chunks up to the end. Raises LogUnavailable when it does not come."""
        while True:
            message = await self._next()
            if message.status not in _CONTINUE and not message.data:
                if message.status == "204":  # the end
                    return
                raise LogUnavailable(f"the server ended a snapshot early: {message.headers}")
            if not message.data:
                return
            yield message.data
            if message.reply and not await self._connection.publish(message.reply):
                raise LogUnavailable("the connection was lost during a snapshot")

    async def _next(self) -> Message:
        while not self._waiting:
            self._came.clear()
            try:
                async with asyncio.timeout(CHUNK_WITHIN_S):
                    await self._came.wait()
            except TimeoutError as error:
                raise LogUnavailable(f"no chunk of a snapshot came within {CHUNK_WITHIN_S:g} s") from error
        return self._waiting.popleft()


def _check(answer: Message) -> None:
    """Raise ApiError when the server refused what was sent."""
    if answer.data.startswith(b"{"):
        api.parse_answer(answer.data)
    elif answer.data.startswith(b"-ERR"):
        raise api.ApiError(500, 0, answer.data.decode(errors="replace")[:200])
    elif answer.status is not None and not answer.status.startswith("2"):
        raise api.ApiError(int(answer.status), 0, str(orjson.dumps(dict(answer.headers))))
