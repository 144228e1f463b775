"""The automation's part for webhooks: records in, deliveries out."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from efferent.automation.reactor import Desk, Need, RecordSubscription
from efferent.automation.webhooks.delivery import Delivering, DeliveryParts
from efferent.automation.webhooks.emission import Emission, EmissionParts
from efferent.automation.webhooks.endpoints import EndpointTable
from efferent.automation.webhooks.history import LoggedHistory
from efferent.automation.webhooks.sending import ATTEMPT_S, WebhookSender
from efferent.automation.webhooks.work_readiness import LoggedWork
from efferent.common.control.webhook_endpoints import SigningSecrets
from efferent.common.domain.control.webhook_endpoint import WEBHOOK_ENDPOINT
from efferent.common.jetstream import subjects
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.webhook_queue import FailureStreaks, WebhookQueue
from efferent.common.jetstream.work_log import JetStreamWorkLog
from efferent.common.ports import LogError, RawRecord
from efferent.common.secrets.box import SecretBox

CONTROL_DURABLE: Final = "automation-webhooks-control"
SESSIONS_DURABLE: Final = "automation-webhooks-sessions"
IN_FLIGHT_MAX: Final = 64
ADJUST_EVERY_S: Final = 30.0
"""How long at most until workers follow a change that was missed."""
ADJUST_AGAIN_S: Final = 1.0
DRAIN_S: Final = 0.4

_ENDPOINTS: Final = "control.webhook_endpoint."
_log = logging.getLogger(__name__)


class WebhookReactor:
    """See the protocol ``Reactor``."""

    def __init__(self, desk: Desk, *, retry_scale: float = 1.0, attempt_s: float = ATTEMPT_S) -> None:
        """Nothing is reached before ``start``. ``retry_scale`` multiplies the delays before retries."""
        self._desk = desk
        self._queue = WebhookQueue(desk.connection)
        self._streaks = FailureStreaks(desk.connection)
        policy = desk.settings.organization.webhook_policy()
        self._sender = WebhookSender(policy, desk.clock, attempt_s=attempt_s)
        self._endpoints = EndpointTable(desk.control)
        self._box = SecretBox(
            JetStreamDataKeys(desk.connection), desk.settings.secrets.root_keys(desk.settings.machine.data_dir)
        )
        self._emission = Emission(
            EmissionParts(
                endpoints=self._endpoints,
                queue=self._queue,
                history=LoggedHistory(desk.connection, desk.sessions, desk.blobs),
                work=LoggedWork(JetStreamWorkLog(desk.connection), desk.clock),
                blobs=desk.blobs,
                clock=desk.clock,
                organization_id=desk.settings.organization.id,
            )
        )
        self._delivering = Delivering(
            DeliveryParts(
                endpoints=self._endpoints,
                queue=self._queue,
                streaks=self._streaks,
                sender=self._sender,
                secrets=SigningSecrets(desk.aggregates, self._box),
                aggregates=desk.aggregates,
                clock=desk.clock,
            ),
            retry_scale=retry_scale,
        )
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def subscriptions(self) -> Sequence[RecordSubscription]:
        """All records from the first endpoint on: what concerns nobody is told by a look at its bytes."""
        need = Need(WEBHOOK_ENDPOINT.subject_family)
        return (
            RecordSubscription(
                DurableSpec(subjects.CONTROL, CONTROL_DURABLE, subjects.CONTROL_SUBJECTS),
                self._emission.handle_control,
                IN_FLIGHT_MAX,
                need,
            ),
            RecordSubscription(
                DurableSpec(subjects.SESSIONS, SESSIONS_DURABLE, subjects.SESSION_SUBJECTS),
                self._emission.handle_session,
                IN_FLIGHT_MAX,
                need,
            ),
        )

    async def start(self) -> None:
        """Begin to deliver what waits. Raises WrongRootKey, LogUnavailable."""
        await self._box.check()
        replicas = self._desk.settings.replicas
        await self._queue.declare(replicas=replicas)
        await self._streaks.declare(replicas=replicas)
        await self._delivering.adjust()
        after = await self._desk.control.last_sequence()
        self._tasks = [
            asyncio.create_task(self._watch(after), name="webhook endpoints"),
            asyncio.create_task(self._adjust(), name="webhook workers"),
        ]

    async def drain(self) -> None:
        """Attempts that are under way may end; the rest waits for another replica or the next start."""
        await self._end_tasks()
        await self._delivering.drain(DRAIN_S)

    async def stop(self) -> None:
        """Close everything."""
        await self._end_tasks()
        await self._delivering.stop()
        await self._sender.close()

    async def _watch(self, after: int) -> None:
        """Every replica learns of every change of an endpoint."""
        feed: AsyncGenerator[Sequence[RawRecord]] = JetStreamFeed(self._desk.connection, subjects.CONTROL).follow(
            after=after
        )
        async with contextlib.aclosing(feed) as batches:
            async for batch in batches:
                if any(raw.subject.startswith(_ENDPOINTS) for raw in batch):
                    self._changed.set()

    async def _adjust(self) -> None:
        while True:
            wait_s = ADJUST_EVERY_S
            try:
                await self._delivering.adjust()
            except LogError as error:
                _log.warning("the workers of webhook endpoints cannot be adjusted: %s", error)
                wait_s = ADJUST_AGAIN_S
            except Exception as error:
                # A defect: new endpoints get nothing until the next try, and everything else goes on.
                _log.error("adjusting the workers of webhook endpoints failed", exc_info=error)
                wait_s = ADJUST_AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            self._changed.clear()

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
