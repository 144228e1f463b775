"""Which workers poll which environment: gateways tell each other on core NATS, nothing of it is stored."""

import contextlib
from typing import Final

from efferent.common.domain.ids import EnvironmentId
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection, Message, Subscription
from efferent.common.ports import Clock

SEEN_FOR_S: Final = 30.0
"""How long a worker counts as polling after its last poll."""
TELL_EVERY_S: Final = 5.0
"""How often one worker's polls are told to the other gateways."""
WORKERS_MAX: Final = 10_000
"""Workers that are remembered, all environments together; further ones are not counted."""
WORKER_ID_LENGTH_MAX: Final = 256


class PollingWorkers:
    """Who polled in the last seconds, at any gateway."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._seen_s: dict[tuple[EnvironmentId, str], float] = {}
        self._told_s: dict[tuple[EnvironmentId, str], float] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to listen. Raises LogUnavailable."""
        self._subscription = await self._connection.subscribe(subjects.WORKERS_ALL, self._deliver)

    async def stop(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.end()

    async def polled(self, environment_id: EnvironmentId, worker_id: str) -> None:
        """A worker polls here."""
        key = (environment_id, worker_id[:WORKER_ID_LENGTH_MAX])
        now_s = self._clock.monotonic_s()
        self._note(key, now_s)
        if now_s - self._told_s.get(key, float("-inf")) >= TELL_EVERY_S and key in self._seen_s:
            self._told_s[key] = now_s
            await self._connection.publish_if_connected(subjects.worker_presence(environment_id), key[1].encode())

    def count(self, environment_id: EnvironmentId) -> int:
        """How many different workers polled the environment lately."""
        self._forget(self._clock.monotonic_s())
        return sum(1 for environment, _ in self._seen_s if environment == environment_id)

    def _deliver(self, message: Message) -> None:
        with contextlib.suppress(subjects.BadSubject):
            environment_id = subjects.parse_worker_presence(message.subject)
            worker_id = message.data[:WORKER_ID_LENGTH_MAX].decode("utf-8", "replace")
            self._note((environment_id, worker_id), self._clock.monotonic_s())

    def _note(self, key: tuple[EnvironmentId, str], now_s: float) -> None:
        if key not in self._seen_s and len(self._seen_s) >= WORKERS_MAX:
            self._forget(now_s)
            if len(self._seen_s) >= WORKERS_MAX:
                return
        self._seen_s[key] = now_s

    def _forget(self, now_s: float) -> None:
        for key in [key for key, seen_s in self._seen_s.items() if now_s - seen_s >= SEEN_FOR_S]:
            del self._seen_s[key]
            self._told_s.pop(key, None)
