"""One connection to NATS, and the only place that sets its options.

It adds three things to the client library: requests whose answers are handed over without a task or a queue in between
(the log is a hot path), requests with many answers, and requests that fail at once when the connection is lost instead
of waiting for their timeout. It must not know streams, records or subjects.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, override

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from efferent.common.ports import LogUnavailable

PING_INTERVAL_S: Final = 2
PINGS_OUTSTANDING_MAX: Final = 3
RECONNECT_WAIT_S: Final = 0.05
CONNECT_TIMEOUT_S: Final = 2
PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes that wait for the socket (or for a reconnect) before a publish waits (or is refused)."""

LibraryError: Final[type[Exception]] = NatsError
"""What the client library raises, for those who meet it through another library."""
NO_RESPONDERS: Final = "503"
_STATUS_AT: Final = len("NATS/1.0")
_SPACE: Final = ord(" ")
"""Stands after the protocol's name where a message has a status of the server."""
_HEADED: Final = re.compile(rb"HMSG (\S+) (\d+) (?:(\S+) )?(\d+) (\d+)\r\n")
"""The first line of a message with headers, as the server writes it."""
_LINE_END: Final = 2
_NO_HEADERS: Final[Mapping[str, str]] = {}

_log = logging.getLogger(__name__)


class RequestFailed(Exception):
    """No answer. Whether the other side did what was asked is not known."""


class Headers(Mapping[str, str]):
    """The headers of a message that has no status, as the server and we write them.

    Looked up where they stand, for few are asked for.
    """

    __slots__ = ("block",)

    def __init__(self, block: bytes) -> None:
        self.block = block.decode("utf-8", "replace")
        """All of them, each after a line end."""

    @override
    def get(self, name: str, default: Any = None, /) -> Any:
        block = self.block
        start = block.find(f"\r\n{name}: ")
        if start < 0:
            return default
        start += len(name) + 4
        return block[start : block.index("\r\n", start)]

    def __getitem__(self, name: str) -> str:
        found: str | None = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (line.partition(": ")[0] for line in self.block.split("\r\n")[1:] if line)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Message(NamedTuple):
    """A message as it came in."""

    subject: str
    reply: str
    data: bytes
    headers: Mapping[str, str]

    @property
    def status(self) -> str | None:
        """The status code of a message that the server made itself; None for an ordinary one."""
        return None if isinstance(self.headers, Headers) else self.headers.get("Status")


Deliver = Callable[[Message], None]


class Subscription:
    """Interest in a subject, until it is ended."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def end(self) -> None:
        """Deliver nothing more; repeating it is harmless."""
        with contextlib.suppress(NatsError):
            await self._inner.unsubscribe()

    async def drain(self, connection: "Connection", timeout_s: float) -> None:
        """Deliver what is on its way, then nothing more."""
        with contextlib.suppress(NatsError, RequestFailed):
            await connection._client._send_unsubscribe(self._inner._id)
            await connection.flush(timeout_s)
        await self.end()


class _Sink:
    """Stands where the library expects the future of a single answer, and passes on every message instead.

    The library hands a message to this object inside its read loop: no queue, no task switch. So whoever receives must
    not block and must bound what it keeps.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def cancelled(self) -> bool:
        return False

    def set_result(self, message: Any) -> None:
        self.deliver(Message(message.subject, message.reply, message.data, message.headers or _NO_HEADERS))

    def deliver(self, message: Message) -> None:
        """Pass on a message."""
        try:
            self._deliver(message)
        except Exception as error:  # an error here would end the read loop of the whole connection
            _log.error("a subscriber failed", exc_info=error, extra={"subject": message.subject})


class _LeanClient(Client):  # type: ignore[misc]  # the library has no types
    """The library's client with a shorter way for messages to a ``_Sink``: they are half the cost of a replay."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = _LeanParser(self)

    def hand_over(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> bool:
        """Pass a message to its sink; False when it has none, or when the library has to look at it."""
        subscription = self._subs.get(sid)
        sink = subscription._future if subscription is not None else None
        has_status = headers is not None and headers[_STATUS_AT] == _SPACE
        if not isinstance(sink, _Sink) or subscription._max_msgs or has_status:
            return False
        subscription._received += 1
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        sink.deliver(Message(subject.decode(), reply.decode(), data, Headers(headers) if headers else _NO_HEADERS))
        return True

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if not self.hand_over(sid, subject, reply, data, headers):
            await super()._process_msg(sid, subject, reply, data, headers)


class _LeanParser(Parser):  # type: ignore[misc]  # the library has no types
    """The library's parser with a shorter way for messages with headers, of which a replay consists.

    Whatever does not begin with a whole one of them is left to the library.
    """

    def reset(self) -> None:
        super().reset()
        self._wanted_bytes = 0

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_CONTROL_LINE:
            self.buf.extend(data)
            if len(self.buf) < self._wanted_bytes:
                return
            received, start = bytes(self.buf), 0
            self.buf.clear()
            while (line := _HEADED.match(received, start)) is not None:
                subject, sid, reply, head_bytes, all_bytes = line.groups(b"")
                head_at = line.end()
                end = head_at + int(all_bytes)
                if len(received) < end + _LINE_END:
                    self.buf.extend(received[start:])
                    self._wanted_bytes = end + _LINE_END - start
                    return
                start, data_at = end + _LINE_END, head_at + int(head_bytes)
                message = (int(sid), subject, reply, received[data_at:end], received[head_at:data_at])
                if not self.nc.hand_over(*message):
                    await self.nc._process_msg(*message)
            self._wanted_bytes = 0
            data = received[start:]
        await super().parse(data)


class _Answers:
    """Collects the answers to one request."""

    def __init__(self, future: asyncio.Future[list[Message]], *, many: bool) -> None:
        self.future = future
        self._many = many
        self._messages: list[Message] = []

    def add(self, message: Message) -> None:
        self._messages.append(message)
        if (not self._many or message.status is not None) and not self.future.done():
            self.future.set_result(self._messages)


class Connection:
    """A connection that reconnects for ever."""

    def __init__(self, client: Any, name: str) -> None:
        """Use ``connect``."""
        self._client = client
        self._name = name
        self._inbox = ""
        self._requests = 0
        self._waiting: dict[str, _Answers] = {}
        self._connected = asyncio.Event()
        self._on_change: list[Callable[[bool], None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether a server is there right now."""
        return self._connected.is_set()

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until a server is there; False when that takes too long."""
        if self._connected.is_set():
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), max(timeout_s, 0))
        return self._connected.is_set()

    def on_change(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call the listener with True after each reconnect and with False after each loss; returns how to stop that."""
        self._on_change.append(listener)
        return lambda: self._on_change.remove(listener) if listener in self._on_change else None

    async def publish(self, subject: str, payload: bytes = b"", *, reply: str = "") -> bool:
        """Send a message; while no server is there it is kept up to a limit. False when it was not taken."""
        try:
            await self._client.publish(subject, payload, reply=reply)
        except NatsError:
            return False
        return True

    async def publish_if_connected(self, subject: str, payload: bytes) -> bool:
        """Send a message that is worth nothing later; False when no server is there."""
        return self.is_connected and await self.publish(subject, payload)

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> Message:
        """Ask and return the one answer. Raises RequestFailed, also when nobody listens."""
        answer = (await self._ask(subject, payload, headers, timeout_s, many=False))[0]
        if answer.status == NO_RESPONDERS:
            raise RequestFailed(f"nobody answers on {subject}")
        return answer

    async def request_many(self, subject: str, payload: bytes, *, timeout_s: float) -> list[Message]:
        """Ask and return all answers, the last of which has a status. Raises RequestFailed."""
        answers = await self._ask(subject, payload, None, timeout_s, many=True)
        if answers[-1].status == NO_RESPONDERS:
            raise RequestFailed(f"nobody answers on {subject}")
        return answers

    async def subscribe(self, subject: str, deliver: Deliver) -> Subscription:
        """Call ``deliver`` for each message, also after reconnects. It runs inside the read loop: it must not block."""
        try:
            inner = await self._client.subscribe(subject, future=_Sink(deliver))
        except NatsError as error:
            raise LogUnavailable(f"cannot subscribe: {error}") from error
        return Subscription(inner)

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        inbox: str = self._client.new_inbox()
        return inbox

    async def flush(self, timeout_s: float) -> None:
        """Return when the server has seen everything sent so far, and we everything that it had sent by then.

        A message to ourselves: the library's own ping can overtake what waits for the socket. Raises RequestFailed.
        """
        await self._ask(None, b"", None, timeout_s, many=False)

    async def close(self) -> None:
        """Send what is still waiting, then end the connection."""
        if not self.is_connected:
            self._client._pending.clear()  # the library would write it to a socket that is gone
            self._client._pending_data_size = 0
        await self._client.close()
        self._fail_waiting("the connection was closed")

    async def _ask(
        self, subject: str | None, payload: bytes, headers: Mapping[str, str] | None, timeout_s: float, *, many: bool
    ) -> list[Message]:
        """Send and wait for the answers; without a subject the message itself is the answer."""
        if not self._connected.is_set():
            raise RequestFailed("not connected")
        self._requests += 1
        token = f"{self._requests:x}"
        answers = _Answers(asyncio.get_running_loop().create_future(), many=many)
        self._waiting[token] = answers
        try:
            inbox = f"{self._inbox}.{token}"
            await self._client.publish(subject or inbox, payload, reply=inbox if subject else "", headers=headers)
            async with asyncio.timeout(timeout_s):
                return await answers.future
        except TimeoutError as error:
            raise RequestFailed(f"no answer on {subject} within {timeout_s:.1f} s") from error
        except NatsError as error:
            raise RequestFailed(f"cannot ask on {subject}: {error}") from error
        finally:
            del self._waiting[token]

    def _answered(self, message: Message) -> None:
        answers = self._waiting.get(message.subject[len(self._inbox) + 1 :])
        if answers is not None:
            answers.add(message)

    def _fail_waiting(self, reason: str) -> None:
        for answers in self._waiting.values():
            if not answers.future.done():
                answers.future.set_exception(RequestFailed(reason))

    async def _opened(self) -> None:
        self._inbox = self.new_inbox()
        await self.subscribe(f"{self._inbox}.*", self._answered)
        self._connected.set()

    async def _lost(self) -> None:
        if self._connected.is_set():
            self._connected.clear()
            if self._client.is_closed:
                return  # we closed it
            _log.warning("connection to NATS lost", extra={"connection": self._name})
            self._fail_waiting("the connection was lost")
            self._tell(connected=False)

    async def _regained(self) -> None:
        self._connected.set()
        _log.info("connection to NATS regained", extra={"connection": self._name})
        self._tell(connected=True)

    def _tell(self, *, connected: bool) -> None:
        for listener in tuple(self._on_change):
            listener(connected)


async def connect(
    servers: Sequence[str], *, name: str, token: str | None = None, within_s: float | None = None
) -> Connection:
    """Connect to one of the servers; waits for ever, or raises LogUnavailable after ``within_s`` seconds.

    A refused token is raised at once.
    """
    client = _LeanClient()
    connection = Connection(client, name)
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        _log.debug("NATS: %s", error, extra={"connection": name})
        if "authorization" in str(error).lower() and not refused.done():
            refused.set_result(error)

    connecting = asyncio.create_task(
        client.connect(
            list(servers),
            name=name,
            token=token,
            error_cb=on_error,
            disconnected_cb=connection._lost,
            reconnected_cb=connection._regained,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=RECONNECT_WAIT_S,
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING_MAX,
            pending_size=PENDING_BYTES_MAX,
        )
    )
    try:
        await asyncio.wait([connecting, refused], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not connecting.done():
            connecting.cancel()
            await asyncio.wait([connecting])
    if refused.done():
        raise LogUnavailable(f"NATS refused the connection: {refused.result()}")
    if connecting.cancelled():
        raise LogUnavailable(f"no NATS server at {', '.join(servers)} within {within_s} s")
    connecting.result()
    await connection._opened()
    return connection
