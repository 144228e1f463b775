"""What travels on core NATS and is never stored: token deltas, and the brains' presence.

Both may get lost at any time. A lost delta is made good by the record that follows it, a lost heartbeat by the next.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

import orjson

from efferent.common.domain.ids import BrainId, SessionId
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection, Message, Subscription
from efferent.common.ports import Clock

DELTAS_WAITING_MAX: Final = 4_096
HEARTBEAT_INTERVAL_S: Final = 1.0
DEAD_AFTER_S: Final = 2.5
SESSIONS_TOLD_MAX: Final = 20_000
"""Sessions that one heartbeat names; as many as the shared consumer lets be in work at all."""

_log = logging.getLogger(__name__)


class TokenDeltas:
    """Publishes and receives the pieces of text that a model is just writing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, session_id: SessionId, payload: bytes) -> bool:
        """Send a delta to whoever listens now; False when no server is there."""
        return await self._connection.publish_if_connected(subjects.delta(session_id), payload)

    async def subscribe(self, session_id: SessionId, *, waiting_max: int = DELTAS_WAITING_MAX) -> "DeltaSubscription":
        """Receive the session's deltas from now on. Raises LogUnavailable."""
        receiver = DeltaSubscription(waiting_max)
        receiver.attach(await self._connection.subscribe(subjects.delta(session_id), receiver.deliver))
        return receiver


class DeltaSubscription:
    """Deltas of one session, as an asynchronous iterator."""

    def __init__(self, waiting_max: int) -> None:
        self.dropped = 0
        """Deltas thrown away because the reader was too slow."""
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_max = waiting_max
        self._subscription: Subscription | None = None
        self._closed = False

    def attach(self, subscription: Subscription) -> None:
        """Keep the subscription, to end it in ``close``."""
        self._subscription = subscription

    def deliver(self, message: Message) -> None:
        """Take a delta in, or drop it when the reader is too slow."""
        if self._waiting.qsize() >= self._waiting_max:
            self.dropped += 1
        else:
            self._waiting.put_nowait(message.data)

    def __aiter__(self) -> "DeltaSubscription":
        return self

    async def __anext__(self) -> bytes:
        """The next delta."""
        delta = None if self._closed else await self._waiting.get()
        if delta is None:
            raise StopAsyncIteration
        return delta

    async def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._waiting.put_nowait(None)
        if self._subscription is not None:
            await self._subscription.end()


class PresenceBeacon:
    """Says each second that a brain is alive and which sessions it holds."""

    def __init__(self, connection: Connection, brain_id: BrainId, held: Callable[[], Iterable[SessionId]]) -> None:
        """``held`` is asked at each heartbeat."""
        self._connection = connection
        self._subject = subjects.presence(brain_id)
        self._held = held
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Send the first heartbeat now."""
        await self.announce()
        self._task = asyncio.create_task(self._beat(), name="presence")

    async def announce(self) -> None:
        """Send a heartbeat out of turn, for instance after a claim."""
        sessions = list(islice(self._held(), SESSIONS_TOLD_MAX))
        await self._connection.publish_if_connected(self._subject, orjson.dumps({"sessions": sessions}))

    async def stop(self) -> None:
        """Say good-bye, so that nobody waits for the next heartbeat."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._connection.publish_if_connected(self._subject, orjson.dumps({"gone": True}))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)
            try:
                await self.announce()
            except Exception as error:  # silence would look like death
                _log.error("a heartbeat failed", exc_info=error)


@dataclass(frozen=True, slots=True)
class _Heard:
    at_s: float
    sessions: frozenset[str]
    is_gone: bool


class PresenceBoard:
    """Which brains are alive and what they hold, by this process's own clock.

    "Unknown" until it has listened for a full period, after a reconnect, and when it hears nobody at all: a listener
    that was paused or cut off must not call the others dead. (A brain hears itself, so for a brain silence always means
    that.)
    """

    def __init__(self, connection: Connection, clock: Clock, *, dead_after_s: float = DEAD_AFTER_S) -> None:
        self._connection = connection
        self._clock = clock
        self._dead_after_s = dead_after_s
        self._heard: dict[BrainId, _Heard] = {}
        self._heard_any_s = float("-inf")
        self._listening_since_s = float("inf")
        self._subscription: Subscription | None = None
        self._stop_listening: Callable[[], None] | None = None

    async def start(self) -> None:
        """Begin to listen. Raises LogUnavailable."""
        self._subscription = await self._connection.subscribe(subjects.PRESENCE_ALL, self._deliver)
        self._stop_listening = self._connection.on_change(self._connection_changed)
        self._listening_since_s = self._clock.monotonic_s()

    async def stop(self) -> None:
        """Listen no more."""
        if self._stop_listening is not None:
            self._stop_listening()
        if self._subscription is not None:
            await self._subscription.end()
        self._listening_since_s = float("inf")

    def is_alive(self, brain_id: BrainId) -> bool | None:
        """Whether the brain was heard of lately; None when this cannot be told yet."""
        if self._is_fresh(self._heard.get(brain_id)):
            return True
        return False if self._is_settled() or self._said_goodbye(brain_id) else None

    def holder_of(self, session_id: SessionId) -> BrainId | None:
        """The live brain that last said it holds the session; None when none is known to."""
        holders = [
            (heard.at_s, brain_id)
            for brain_id, heard in self._heard.items()
            if session_id in heard.sessions and self._is_fresh(heard)
        ]
        return max(holders)[1] if holders else None

    def alive(self) -> frozenset[BrainId]:
        """Every brain that was heard of lately."""
        return frozenset(brain_id for brain_id, heard in self._heard.items() if self._is_fresh(heard))

    def _is_settled(self) -> bool:
        now_s = self._clock.monotonic_s()
        return now_s - self._listening_since_s >= self._dead_after_s and now_s - self._heard_any_s < self._dead_after_s

    def _is_fresh(self, heard: _Heard | None) -> bool:
        if heard is None or heard.is_gone:
            return False
        return self._clock.monotonic_s() - heard.at_s < self._dead_after_s

    def _said_goodbye(self, brain_id: BrainId) -> bool:
        heard = self._heard.get(brain_id)
        return heard is not None and heard.is_gone

    def _deliver(self, message: Message) -> None:
        with contextlib.suppress(orjson.JSONDecodeError, subjects.BadSubject, AttributeError, TypeError):
            brain_id = subjects.parse_presence(message.subject)
            told = orjson.loads(message.data)
            now_s = self._clock.monotonic_s()
            self._forget(now_s)
            self._heard[brain_id] = _Heard(now_s, frozenset(told.get("sessions", ())), bool(told.get("gone", False)))
            self._heard_any_s = now_s

    def _forget(self, now_s: float) -> None:
        """Drop brains that died long ago: each start of a brain has a new id."""
        for brain_id in [b for b, heard in self._heard.items() if now_s - heard.at_s > 100 * self._dead_after_s]:
            del self._heard[brain_id]

    def _connection_changed(self, connected: bool) -> None:
        self._listening_since_s = self._clock.monotonic_s() if connected else float("inf")
