"""From committed records to deliveries that wait: each event is put into the queue of each endpoint that wants it.

Safe to repeat: an event has the same id each time, and a queue takes the same delivery once. A record counts as handled
when everything that it causes waits durably. The record itself is committed, so what an event tells can be read.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from efferent.automation.webhooks import control_facts
from efferent.automation.webhooks.endpoints import EndpointTable
from efferent.common.domain import timestamp, webhook_events
from efferent.common.domain.events import SessionCreated
from efferent.common.domain.ids import EnvironmentId, SessionId
from efferent.common.domain.record import Record, StoredRecord
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.webhook_events import SessionOrigin, WebhookEvent
from efferent.common.jetstream import subjects
from efferent.common.jetstream.session_log import RecordPayloads, stored_record
from efferent.common.jetstream.webhook_queue import WebhookQueue
from efferent.common.ports import BlobStore, Clock, RawRecord

ORIGINS_MAX: Final = 10_000
"""Sessions whose first record is remembered."""

AGE_MAX_S: Final = 86_400.0
"""An event that is older is not delivered any more: after a restore the whole history comes by again."""

_MARKS: Final = (b'"session.', b'"internal.session_', b'"span.outcome_evaluation_end"', b'"blob":')
"""What a record that causes an event has somewhere in it. Most records have none and need not be decoded."""

_log = logging.getLogger(__name__)


class SessionHistory(Protocol):
    """What has to be known of a session beside the record at hand."""

    async def first(self, session_id: SessionId) -> StoredRecord | None:
        """Its first record; None when the session is gone. Raises LogUnavailable, LogUnreadable."""

    async def has_stopped_at(self, session_id: SessionId, amount: str, *, before: int) -> bool:
        """Whether a record before this sequence has the session stop at this budget. Raises LogUnavailable."""


class WorkReadiness(Protocol):
    """Whether a worker that is told of a session would find its work."""

    async def check(self, environment_id: EnvironmentId, session_id: SessionId, since: Timestamp) -> None:
        """Return when the session's work item can be polled, or when none will come. Raises Later."""


@dataclass(frozen=True, slots=True)
class EmissionParts:
    """What emission works with."""

    endpoints: EndpointTable
    queue: WebhookQueue
    history: SessionHistory
    work: WorkReadiness
    blobs: BlobStore
    clock: Clock
    organization_id: str


class Emission:
    """Reacts to the records of ``CONTROL`` and ``SESSIONS``."""

    def __init__(self, parts: EmissionParts) -> None:
        self._parts = parts
        self._payloads = RecordPayloads(parts.blobs)
        self._origins: OrderedDict[SessionId, SessionOrigin] = OrderedDict()

    async def handle_control(self, raw: RawRecord) -> None:
        """Let what a control record causes wait for delivery. Raises LogUnavailable, LogUnreadable."""
        fact = control_facts.read(raw)
        events = () if fact is None else webhook_events.of_control(fact, self._parts.organization_id)
        if events:
            await self._put(events, await self._enabled())

    async def handle_session(self, raw: RawRecord) -> None:
        """Let what a session's record causes wait for delivery. Raises LogUnavailable, LogUnreadable, Later."""
        if not any(mark in raw.payload for mark in _MARKS):
            return
        endpoints = await self._enabled()
        if not endpoints:
            return
        stored = stored_record(raw, await self._payloads.resolve(raw.payload))
        session_id, _ = subjects.parse_session(raw.subject)
        origin = await self._origin(session_id, stored.record)
        if origin is None:
            return  # purged: its deletion is a record of the control plane
        events = webhook_events.of_session(stored.record, session_id, origin, self._parts.organization_id)
        budget = webhook_events.reached_budget(stored.record)
        if budget is not None and await self._parts.history.has_stopped_at(
            session_id, budget.max_list_cost.amount, before=raw.sequence
        ):
            events = [event for event in events if event.data.type != "session.budget_reached"]
        for event in events:
            if origin.is_self_hosted and event.data.type == "session.status_run_started":
                await self._parts.work.check(origin.environment_id, session_id, event.created_at)
        await self._put(events, endpoints)

    async def _enabled(self) -> Sequence[WebhookEndpoint]:
        endpoints = await self._parts.endpoints.current()
        return [endpoint for endpoint in endpoints.values() if endpoint.state == "enabled"]

    async def _put(self, events: Sequence[WebhookEvent], endpoints: Sequence[WebhookEndpoint]) -> None:
        now = timestamp.from_epoch_us(self._parts.clock.now_us())
        events = [event for event in events if timestamp.seconds_between(event.created_at, now) <= AGE_MAX_S]
        for endpoint in endpoints:
            for event in events:
                if endpoint.wants(event) and not await self._parts.queue.put(endpoint.id, event.id, event.body()):
                    _log.warning(
                        "too many deliveries wait for a webhook endpoint; this event is not delivered to it",
                        extra={"endpoint": endpoint.id, "event": event.id, "event_type": event.data.type},
                    )

    async def _origin(self, session_id: SessionId, record: Record) -> SessionOrigin | None:
        known = self._origins.get(session_id)
        if known is None:
            known = _origin_in(record)
        if known is None:
            first = await self._parts.history.first(session_id)
            known = None if first is None else _origin_in(first.record)
        if known is not None:
            self._origins[session_id] = known
            self._origins.move_to_end(session_id)
            if len(self._origins) > ORIGINS_MAX:
                self._origins.popitem(last=False)
        return known


def _origin_in(record: Record) -> SessionOrigin | None:
    created = next((entry.event for entry in record.entries if isinstance(entry.event, SessionCreated)), None)
    if created is None:
        return None
    return SessionOrigin(
        workspace_id=created.workspace_id,
        primary_thread_id=created.primary_thread_id,
        environment_id=created.environment_id,
        is_self_hosted=isinstance(created.environment_config, SelfHostedConfig),
    )
