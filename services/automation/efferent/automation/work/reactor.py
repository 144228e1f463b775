"""Sees to it that a session of a self-hosted environment has a work item when it needs a worker.

The gateway queues work for the records that it writes itself. This reactor sees every record: those of brains (a call
for the worker when none is there any more), those of a gateway that died before it queued the work, and every item that
stops while its session still needs somebody. A record may be handled any number of times.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from efferent.automation.reactor import Desk, Later, Need, RecordSubscription
from efferent.common import codec
from efferent.common.domain import work
from efferent.common.domain.control.aggregate import UnreadableRecord
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.events import SessionCreated
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import EnvironmentId, SessionId
from efferent.common.domain.record import Record
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp, from_epoch_us, seconds_between
from efferent.common.domain.work_demand import demand, needs_worker
from efferent.common.jetstream import subjects, work_log
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.jetstream.session_log import RecordPayloads
from efferent.common.jetstream.work_log import JetStreamWorkLog, StoredWork
from efferent.common.ports import BlobStore, Clock, LogConflict, RawRecord, SessionLog
from efferent.common.work.enqueuing import WorkEnqueuer

ENVIRONMENTS_KEPT_MAX: Final = 100_000
"""Sessions of which it is remembered whether they are self-hosted, and where."""
LEASE_MARGIN_S: Final = 0.01

_MAY_DEMAND: Final = re.compile(
    rb'"(?:internal\.session_created|internal\.session_archived|internal\.input_queued|agent\.tool_use'
    rb'|user\.tool_result|user\.custom_tool_result|session\.deleted|session\.status_terminated)"|"blob":'
)
"""Records of any session come by here; those without one of these words are not even parsed."""


def _is_self_hosted(raw: RawRecord) -> bool:
    """Whether it is a record of a self-hosted environment. One that cannot be read may be one."""
    if b'"self_hosted"' not in raw.payload:
        return False
    try:
        return isinstance(ENVIRONMENT.decode(raw.payload).data.config, SelfHostedConfig)
    except UnreadableRecord:
        return True


class WorkReactor:
    """Reacts to session records and to work items."""

    def __init__(
        self,
        log: JetStreamWorkLog,
        sessions: SessionLog,
        blobs: BlobStore,
        enqueuer: WorkEnqueuer,
        clock: Clock,
        *,
        environments_kept_max: int = ENVIRONMENTS_KEPT_MAX,
    ) -> None:
        self._log = log
        self._sessions = sessions
        self._payloads = RecordPayloads(blobs)
        self._enqueuer = enqueuer
        self._clock = clock
        self._environments_kept_max = environments_kept_max
        self._environments: OrderedDict[SessionId, EnvironmentId | None] = OrderedDict()

    @classmethod
    def at(cls, desk: Desk) -> "WorkReactor":
        """The reactor of a running automation."""
        log = JetStreamWorkLog(desk.connection)
        enqueuer = WorkEnqueuer(log, desk.clock, desk.ids, ttl_s=desk.settings.work_lease_ttl_s)
        return cls(log, desk.sessions, desk.blobs, enqueuer, desk.clock)

    def subscriptions(self) -> Sequence[RecordSubscription]:
        """Every session's records from the first self-hosted environment on, and every work item."""
        return (
            RecordSubscription(
                DurableSpec(subjects.SESSIONS, "automation-work-sessions", subjects.SESSION_SUBJECTS),
                self.handle_session,
                need=Need(ENVIRONMENT.subject_family, _is_self_hosted),
            ),
            RecordSubscription(
                DurableSpec(subjects.WORK, "automation-work-items", subjects.WORK_SUBJECTS), self.handle_item
            ),
        )

    async def start(self) -> None:
        """Nothing runs by itself."""

    async def drain(self) -> None:
        """Nothing is held."""

    async def stop(self) -> None:
        """Nothing is open."""

    async def handle_session(self, raw: RawRecord) -> None:
        """Queue the work that a record calls for. Raises LogUnavailable, LogUnreadable, LogConflict."""
        if _MAY_DEMAND.search(raw.payload) is None:
            return
        session_id, _ = subjects.parse_session(raw.subject)
        record = codec.decode(await self._payloads.resolve(raw.payload))
        wanted = demand(entry.event for entry in record.entries)
        if wanted == "none":
            return
        environment_id = await self._environment_of(session_id, record)
        if environment_id is None:
            return
        if wanted != "over" and await self._has_live_item(environment_id, session_id):
            return
        state, _ = await self._fold(session_id, after=0)
        if state is not None:
            await self._enqueuer.demanded(state, wanted, raw.sequence)

    async def handle_item(self, raw: RawRecord) -> None:
        """End an item whose worker never confirmed its stop; when one has stopped, see what its session needs.

        Raises Later until the lease of a stopping item is over, LogUnavailable, LogUnreadable, LogConflict.
        """
        stored = work_log.decode(raw)
        match stored.item.state:
            case "queued" | "starting" | "active":
                return
            case "stopping":
                await self._end_when_due(stored)
            case "stopped":
                await self._settle(stored)

    async def _end_when_due(self, stored: StoredWork) -> None:
        now = self._now()
        ended = work.at(stored.item, now)
        if ended.state == "stopping" and stored.item.lease_until is not None:
            wait_s = seconds_between(now, stored.item.lease_until) + LEASE_MARGIN_S
            raise Later(wait_s, f"work {stored.item.id} is stopping")
        try:
            await self._log.change(ended, expected=stored.sequence)
        except LogConflict:
            return  # somebody confirmed: that record comes by as well

    async def _settle(self, stored: StoredWork) -> None:
        """A new item when the session came to need a worker after the stopped one was claimed, and still does."""
        item = stored.item
        state, demanded_by = await self._fold(item.session_id, after=item.seen)
        if state is not None and demanded_by and needs_worker(state):
            await self._enqueuer.demanded(state, "while_needed", demanded_by)

    async def _environment_of(self, session_id: SessionId, record: Record) -> EnvironmentId | None:
        """The session's environment when workers run its tools; None otherwise, and when the session is gone."""
        if session_id in self._environments:
            self._environments.move_to_end(session_id)
            return self._environments[session_id]
        first = record.entries[0].event
        if not isinstance(first, SessionCreated):
            found = await self._first_event(session_id)
            if found is None:
                return None
            first = found
        environment_id = first.environment_id if isinstance(first.environment_config, SelfHostedConfig) else None
        self._environments[session_id] = environment_id
        while len(self._environments) > self._environments_kept_max:
            self._environments.popitem(last=False)
        return environment_id

    async def _first_event(self, session_id: SessionId) -> SessionCreated | None:
        async for stored in self._sessions.read(session_id):
            event = stored.record.entries[0].event
            return event if isinstance(event, SessionCreated) else None
        return None

    async def _has_live_item(self, environment_id: EnvironmentId, session_id: SessionId) -> bool:
        now = self._now()
        items = await self._log.of_session(environment_id, session_id)
        return any(work.at(stored.item, now).state != "stopped" for stored in items)

    async def _fold(self, session_id: SessionId, *, after: int) -> tuple[SessionState | None, int]:
        """The session's state, and the last record after ``after`` that called for a worker (0: none did)."""
        state, demanded_by = None, 0
        async for stored in self._sessions.read(session_id):
            state = fold(state, (stored.record,))
            if stored.sequence > after and demand(entry.event for entry in stored.record.entries) != "none":
                demanded_by = stored.sequence
        return state, demanded_by

    def _now(self) -> Timestamp:
        return from_epoch_us(self._clock.now_us())
