"""Empties the endpoints' queues: for each enabled endpoint a few workers that take, attempt, and settle.

An endpoint that is slow or dead keeps only its own workers busy. What is tried again later waits in the stream, so a
process that dies loses nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from efferent.automation.webhooks.endpoints import EndpointTable
from efferent.automation.webhooks.sending import Delivered, Failed, Hopeless, WebhookSender
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, SigningSecrets
from efferent.common.domain import timestamp, webhook_retries
from efferent.common.domain.control.webhook_endpoint import DisableEndpoint
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.domain.webhook_events import WebhookEvent
from efferent.common.domain.webhook_retries import ATTEMPTS_MAX
from efferent.common.jetstream.webhook_queue import FailureStreaks, QueuedDelivery, WebhookQueue
from efferent.common.ports import Clock, LogConflict, LogError, LogUnavailable
from efferent.common.secrets.envelope import CannotOpen

WORKERS: Final = 8
"""Attempts to one endpoint at the same time."""
UNAVAILABLE_PAUSE_S: Final = 0.5
LATER_S: Final = 5.0
"""When a delivery could not be attempted for reasons of our own."""
_STREAK_TRIES_MAX: Final = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What delivering works with."""

    endpoints: EndpointTable
    queue: WebhookQueue
    streaks: FailureStreaks
    sender: WebhookSender
    secrets: SigningSecrets
    aggregates: Aggregates
    clock: Clock


class Delivering:
    """The workers of this process."""

    def __init__(self, parts: DeliveryParts, *, retry_scale: float = 1.0) -> None:
        """``retry_scale`` multiplies the delays before retries; tests make them short."""
        self._parts = parts
        self._retry_scale = retry_scale
        self._workers: dict[str, tuple[asyncio.Task[None], ...]] = {}
        self._busy: set[asyncio.Task[None]] = set()
        """Workers in the middle of an attempt."""
        self._is_draining = False

    async def adjust(self) -> None:
        """Have workers for exactly the enabled endpoints. Raises LogUnavailable."""
        opened = await self._parts.queue.opened()
        # Before the endpoints are read: what comes later may be for one that was enabled again in between.
        reach = await self._parts.queue.position()
        endpoints = await self._parts.endpoints.current()
        wanted = {endpoint.id for endpoint in endpoints.values() if endpoint.state == "enabled"}
        await self._end(self._workers.keys() - wanted)
        for endpoint_id in opened - wanted:
            await self._parts.queue.remove(endpoint_id, reach=reach)
            await self._parts.streaks.clear(endpoint_id)
        for endpoint_id in wanted - opened:
            await self._parts.queue.open(endpoint_id)
        for endpoint_id in wanted - self._workers.keys():
            self._workers[endpoint_id] = tuple(
                asyncio.create_task(self._work(endpoint_id), name=f"webhook worker {index} of {endpoint_id}")
                for index in range(WORKERS)
            )

    async def drain(self, within_s: float) -> None:
        """Take nothing more, and let attempts that are under way come to their end if they do so in time."""
        self._is_draining = True
        workers = {worker for group in self._workers.values() for worker in group}
        for worker in workers - self._busy:
            worker.cancel()
        if self._busy:
            await asyncio.wait(set(self._busy), timeout=within_s)

    async def stop(self) -> None:
        """End all workers; what they were about to attempt comes again."""
        await self._end(set(self._workers))

    async def _end(self, endpoint_ids: Set[str]) -> None:
        workers = [worker for endpoint_id in endpoint_ids for worker in self._workers.pop(endpoint_id)]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)

    async def _work(self, endpoint_id: str) -> None:
        this = asyncio.current_task()
        while not self._is_draining:
            try:
                delivery = await self._parts.queue.take(endpoint_id)
            except LogUnavailable as error:
                _log.debug("no deliveries can be taken: %s", error, extra={"endpoint": endpoint_id})
                await asyncio.sleep(UNAVAILABLE_PAUSE_S)
                continue
            if delivery is not None and this is not None:
                self._busy.add(this)
                try:
                    await self._settle(delivery)
                finally:
                    self._busy.discard(this)

    async def _settle(self, delivery: QueuedDelivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception as error:  # one delivery must not end the worker of all others
            level = logging.WARNING if isinstance(error, LogError) else logging.ERROR
            _log.log(level, "a delivery could not be attempted", exc_info=error, extra=_where(delivery))
            await delivery.again(LATER_S)

    async def _deliver(self, delivery: QueuedDelivery) -> None:
        endpoint = (await self._parts.endpoints.current()).get(delivery.endpoint_id)
        event = _event(delivery)
        if endpoint is None or event is None or not endpoint.wants(event):
            await delivery.done()
            return
        if delivery.attempt > ATTEMPTS_MAX:  # the last attempt was cut short, and there is no other
            await self._give_up(delivery, endpoint, "the last attempt was cut short")
            return
        try:
            secret = await self._parts.secrets.read(endpoint)
        except CannotOpen as error:
            if (await self._parts.endpoints.current()).get(endpoint.id) == endpoint:
                raise
            _log.info("the secret was replaced just now: %s", error, extra=_where(delivery))
            await self._deliver(delivery)
            return
        match await self._parts.sender.attempt(endpoint.url, secret, event.id, delivery.body):
            case Delivered():
                await delivery.done()
                await self._end_streak(endpoint.id)
            case Failed(reason):
                if delivery.attempt >= ATTEMPTS_MAX:
                    await self._give_up(delivery, endpoint, reason)
                else:
                    delay_s = webhook_retries.retry_delay_s(event.id, delivery.attempt) * self._retry_scale
                    _log.info("a delivery failed: %s", reason, extra={**_where(delivery), "retry_s": round(delay_s, 1)})
                    await delivery.again(delay_s)
            case Hopeless(reason):
                await self._disable(endpoint, reason)
                await delivery.done()

    async def _give_up(self, delivery: QueuedDelivery, endpoint: WebhookEndpoint, reason: str) -> None:
        _log.warning("a delivery is given up: %s", reason, extra=_where(delivery))
        if await self._is_sustained(endpoint):
            await self._disable(endpoint, f"Deliveries kept failing; the last one: {reason}.")
        await delivery.done()

    async def _is_sustained(self, endpoint: WebhookEndpoint) -> bool:
        """Count one more delivery that was given up: whether it was one too many. Raises LogError."""
        now = timestamp.from_epoch_us(self._parts.clock.now_us())
        for tries_left in reversed(range(_STREAK_TRIES_MAX)):
            before, sequence = await self._parts.streaks.read(endpoint.id)
            if before is not None and before.since < endpoint.enabled_since:
                before = None  # it failed before it was enabled again
            streak = webhook_retries.given_up_again(before, now)
            try:
                await self._parts.streaks.write(endpoint.id, streak, expected=sequence)
            except LogConflict:
                if not tries_left:
                    raise
                continue
            return webhook_retries.is_sustained(streak, now)
        return False

    async def _end_streak(self, endpoint_id: str) -> None:
        streak, _ = await self._parts.streaks.read(endpoint_id)
        if streak is not None:
            await self._parts.streaks.clear(endpoint_id)

    async def _disable(self, endpoint: WebhookEndpoint, reason: str) -> None:
        _log.warning("a webhook endpoint is disabled: %s", reason, extra={"endpoint": endpoint.id})
        with contextlib.suppress(NotFound):
            await WEBHOOK_ENDPOINTS.change(
                self._parts.aggregates, Actor(HOME), endpoint.id, DisableEndpoint(reason, endpoint)
            )


def _event(delivery: QueuedDelivery) -> WebhookEvent | None:
    """What is delivered; None when it cannot be read, and then it never will be."""
    try:
        return WebhookEvent.model_validate_json(delivery.body)
    except ValidationError as error:
        _log.error("a delivery cannot be read and is dropped: %d problems", error.error_count(), extra=_where(delivery))
        return None


def _where(delivery: QueuedDelivery) -> Mapping[str, object]:
    return {"endpoint": delivery.endpoint_id, "attempt": delivery.attempt}
