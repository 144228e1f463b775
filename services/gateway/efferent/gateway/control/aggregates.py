"""Writing aggregates: load, decide, append, and again when somebody else was quicker. Nobody writes that loop again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import Change, Kind, UnreadableRecord
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.domain.refusals import Conflict
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable
from efferent.common.runtime.metrics import Metrics
from efferent.gateway.control.kinds import set_of, subject_of
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.errors import Overloaded, RequestTooLarge

RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest record of an aggregate; NATS would take twice as much."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded[R]:
    """An aggregate's newest state and its sequence; ``data`` is None and the sequence kept when it was deleted."""

    data: R | None
    sequence: int


@dataclass(frozen=True, slots=True)
class Actor:
    """On whose behalf an aggregate is changed."""

    workspace_id: WorkspaceId
    key_id: ApiKeyId | None


class Aggregates:
    """Reads and writes the aggregates of all kinds."""

    def __init__(
        self,
        control_log: ControlLog,
        projection: ControlProjection,
        clock: Clock,
        metrics: Metrics,
        *,
        write_deadline_s: float,
    ) -> None:
        self._control_log = control_log
        self._projection = projection
        self._clock = clock
        self._metrics = metrics
        self._write_deadline_s = write_deadline_s

    async def load[R: Any](self, kind: Kind[R], workspace_id: WorkspaceId, identifier: str) -> Loaded[R]:
        """The aggregate as the log has it now; another workspace's counts as not there. Raises LogUnavailable."""
        raw = await self._control_log.last(subject_of(kind, workspace_id, identifier))
        if raw is None:
            return Loaded(None, 0)
        try:
            record = kind.decode(raw.payload)
        except UnreadableRecord as error:
            raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error}") from error
        is_there = record.workspace_id == workspace_id and not kind.is_deleted(record)
        return Loaded(record.data if is_there else None, raw.sequence)

    async def execute[R: Any](
        self,
        kind: Kind[R],
        actor: Actor,
        identifier: str,
        decide: Callable[[R | None, Timestamp], Change[R] | None],
        *,
        name_taken: Callable[[str, str], Conflict] | None = None,
    ) -> R:
        """Carry out a decision on the newest state and return the state after it.

        With ``name_taken`` the kind's unique name is kept unique: it makes the refusal from the name and the id that
        has it. Raises what ``decide`` raises, and Overloaded when others keep being quicker for too long.
        """
        deadline_s = self._clock.monotonic_s() + self._write_deadline_s
        while True:
            loaded = await self.load(kind, actor.workspace_id, identifier)
            now = timestamp.from_epoch_us(self._clock.now_us())
            change = decide(loaded.data, now)
            if change is None:
                if loaded.data is None:
                    raise RuntimeError(f"{kind.name}: nothing was decided about nothing")
                return loaded.data
            fence, expected = None, loaded.sequence
            if name_taken is not None and _name_is_new(kind, loaded.data, change.data):
                fence = set_of(kind, actor.workspace_id)
                expected = await self._free_name(kind, actor.workspace_id, change.data, name_taken)
                # The set's fence does not see a change of this very aggregate that came before the set was read.
                if loaded.sequence and await self._sequence(kind, actor.workspace_id, identifier) != loaded.sequence:
                    continue
            payload = kind.encode(change, at=now, workspace_id=actor.workspace_id, actor=actor.key_id)
            if len(payload) > RECORD_BYTES_MAX:
                raise RequestTooLarge(f"The {kind.noun} is larger than {RECORD_BYTES_MAX} bytes.")
            subject = subject_of(kind, actor.workspace_id, identifier)
            try:
                await self._control_log.append(subject, payload, expected=expected, fence=fence)
            except LogConflict as error:
                self._metrics.write_conflicts.add(kind.name)
                if self._clock.monotonic_s() >= deadline_s:
                    raise Overloaded from error
                continue
            return change.data

    async def _sequence(self, kind: Kind[Any], workspace_id: WorkspaceId, identifier: str) -> int:
        raw = await self._control_log.last(subject_of(kind, workspace_id, identifier))
        return raw.sequence if raw is not None else 0

    async def _free_name[R: Any](
        self, kind: Kind[R], workspace_id: WorkspaceId, data: R, name_taken: Callable[[str, str], Conflict]
    ) -> int:
        """The sequence of the whole set at which the name is free. Raises the refusal when it is not."""
        name = kind.unique_name(data)
        if name is None:
            raise RuntimeError(f"{kind.name} has no unique name")
        holder, sequence = await self._projection.holder_of_name(kind.name, workspace_id, name)
        if holder is not None and holder != data.id:
            raise name_taken(name, holder)
        return sequence


def _name_is_new[R: Any](kind: Kind[R], before: R | None, after: R) -> bool:
    return before is None or kind.unique_name(before) != kind.unique_name(after)
