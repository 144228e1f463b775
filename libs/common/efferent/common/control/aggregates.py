"""Writing aggregates: load, decide, append, and again when somebody else was quicker. Nobody writes that loop again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from efferent.common.control.folded_sets import FoldedSets
from efferent.common.control.kinds import kind_at, set_pattern, subject_of
from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import Change, ControlRecord, Kind, SetFacts, UnreadableRecord
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.domain.refusals import TooLarge
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable, RawRecord
from efferent.common.runtime.metrics import Metrics

RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest record of an aggregate; NATS would take twice as much."""


@dataclass(frozen=True, slots=True)
class Loaded[R]:
    """An aggregate's newest state and its sequence; ``data`` is None and the sequence kept when it was deleted."""

    data: R | None
    sequence: int


@dataclass(frozen=True, slots=True)
class Actor:
    """On whose behalf an aggregate is changed; no key: the platform itself."""

    workspace_id: WorkspaceId
    key_id: ApiKeyId | None = None


@dataclass(frozen=True, slots=True)
class SetQuestion:
    """What has to be known about a set before a resource joins it."""

    kind: Kind[Any]
    set_id: str
    """The token that names the set in subjects."""
    identifier: str
    """The resource that wants to join; it is not counted itself."""
    name: str | None
    """The unique name that it wants."""


class ControlSets(Protocol):
    """Who is in a set: a projection, or the log itself."""

    async def set_facts(self, question: SetQuestion) -> tuple[SetFacts, int]:
        """The facts, and the sequence of the set's newest record that they include. Raises what a read can raise."""


class Aggregates:
    """Reads and writes the aggregates of all kinds."""

    def __init__(
        self, control_log: ControlLog, sets: ControlSets, clock: Clock, metrics: Metrics, *, write_deadline_s: float
    ) -> None:
        """``write_deadline_s``: how long a command is decided again after conflicts."""
        self._control_log = control_log
        self._folded_sets = FoldedSets(control_log)
        self._sets = sets
        self._clock = clock
        self._metrics = metrics
        self._write_deadline_s = write_deadline_s
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load[R: Any](
        self, kind: Kind[R], workspace_id: WorkspaceId, identifier: str, *, within: str | None = None
    ) -> Loaded[R]:
        """The aggregate as the log has it now; another workspace's counts as not there.

        ``within`` is the id of the parent for kinds that live in their parent's set. Raises LogUnavailable.
        """
        raw = await self._control_log.last(subject_of(kind, workspace_id, identifier, within))
        if raw is None:
            return Loaded(None, 0)
        record = _decoded(kind, raw)
        is_there = record.workspace_id == workspace_id and not kind.is_deleted(record)
        return Loaded(record.data if is_there else None, raw.sequence)

    async def history[R: Any](
        self, kind: Kind[R], workspace_id: WorkspaceId, identifier: str, *, within: str | None = None
    ) -> AsyncIterator[ControlRecord[R]]:
        """Every record of the aggregate, oldest first. Raises LogUnavailable, LogUnreadable."""
        async for raw in self._control_log.read(subject_of(kind, workspace_id, identifier, within)):
            record = _decoded(kind, raw)
            if record.workspace_id == workspace_id:
                yield record

    async def at_version[R: Any](
        self, kind: Kind[R], workspace_id: WorkspaceId, identifier: str, version: int, *, within: str | None = None
    ) -> R | None:
        """The aggregate at a version that one of its records has; None when none has.

        Versions rise with the records, so the record is searched for by halves: what is read does not grow with the
        history. Raises LogUnavailable, LogUnreadable.
        """
        subject = subject_of(kind, workspace_id, identifier, within)
        low, high = 0, await self._sequence(subject)
        while low < high:  # the record's sequence is in (low, high]
            middle = (low + high) // 2
            raw = await self._control_log.next(subject, after=middle)
            if raw is None or raw.sequence > high:
                high = middle
                continue
            record = _decoded(kind, raw)
            found = kind.version(record.data)
            if found == version:
                return record.data if record.workspace_id == workspace_id else None
            if found > version:
                high = middle
            else:
                low = raw.sequence
        return None

    async def children[R: Any](self, kind: Kind[R], workspace_id: WorkspaceId, parent_id: str) -> list[R]:
        """Everything of a kind that lives in its parent's set now, read from the log, oldest first.

        For cascades over sets that are small by their rules; lists are the projection's. Raises LogUnavailable.
        """
        newest, _ = await self._folded_sets.newest(set_pattern(kind, parent_id))
        return [
            record.data
            for subject, record in newest.items()
            if kind_at(subject) is kind and record.workspace_id == workspace_id
        ]

    async def execute[R: Any](
        self,
        kind: Kind[R],
        actor: Actor,
        identifier: str,
        decide: Callable[[R | None, Timestamp], Change[R] | None],
        *,
        within: str | None = None,
        admit: Callable[[R, SetFacts], None] | None = None,
        guard: Callable[[], Awaitable[None]] | None = None,
    ) -> R:
        """Carry out a decision on the newest state and return the state after it.

        A kind with a rule over its set is asked whether it admits the resource, fenced on the whole set; ``admit``
        takes the place of that rule where its limits are configured. ``guard`` is asked before any other change, fenced
        the same way: what it finds in the set still holds when the change is recorded. Raises what ``decide``, the rule
        and the guard raise, TooLarge, LogUnavailable, and LogConflict when others keep being quicker for too long.
        """
        admit = admit or kind.admit
        deadline_s = self._clock.monotonic_s() + self._write_deadline_s
        while True:
            loaded = await self.load(kind, actor.workspace_id, identifier, within=within)
            now = timestamp.from_epoch_us(self._clock.now_us())
            change = decide(loaded.data, now)
            if change is None:
                if loaded.data is None:
                    raise RuntimeError(f"{kind.name}: nothing was decided about nothing")
                return loaded.data
            payload = kind.encode(change, at=now, workspace_id=actor.workspace_id, actor=actor.key_id)
            if len(payload) > RECORD_BYTES_MAX:
                raise TooLarge(f"The {kind.noun} is larger than {RECORD_BYTES_MAX} bytes.")
            subject = subject_of(kind, actor.workspace_id, identifier, within)
            set_id = kind.set_of(change.data, actor.workspace_id)
            joins = admit if admit is not None and _joins(kind, loaded.data, change) else None
            try:
                if set_id is None or (joins is None and guard is None):
                    await self._control_log.append(subject, payload, expected=loaded.sequence, fence=subject)
                    return change.data
                fence = set_pattern(kind, set_id)
                async with self._turn(fence, deadline_s):
                    if joins is not None:
                        expected = await self._admitted(kind, joins, set_id, change.data)
                    else:
                        expected = await self._guarded(guard, fence)
                    # The set's fence does not see a change of this very aggregate that came before the set was read.
                    if loaded.sequence or joins is None:
                        newest = await self._sequence(subject)
                        if newest != loaded.sequence:
                            raise LogConflict(newest)
                    await self._control_log.append(subject, payload, expected=expected, fence=fence)
            except LogConflict:
                self._metrics.write_conflicts.add(kind.name)
                if self._clock.monotonic_s() >= deadline_s:
                    raise
                continue
            return change.data

    @asynccontextmanager
    async def _turn(self, fence: str, deadline_s: float) -> AsyncGenerator[None]:
        """Changes of a set wait for each other in this process: of many at once, one would win each round.

        Raises LogConflict when that takes until the deadline.
        """
        lock = self._turns.setdefault(fence, asyncio.Lock())
        try:
            async with asyncio.timeout(max(deadline_s - self._clock.monotonic_s(), 0)):
                await lock.acquire()
        except TimeoutError:
            raise LogConflict(0) from None
        try:
            yield
        finally:
            lock.release()

    async def _sequence(self, subject: str) -> int:
        """Sequence of the newest record of a subject, or of a set; 0 when there is none."""
        raw = await self._control_log.last(subject)
        return raw.sequence if raw is not None else 0

    async def _admitted[R: Any](self, kind: Kind[R], admit: Callable[[R, SetFacts], None], set_id: str, data: R) -> int:
        """The sequence of the whole set at which its rule admits the resource. Raises the refusal."""
        question = SetQuestion(kind, set_id, data.id, kind.unique_name(data))
        facts, sequence = await self._sets.set_facts(question)
        admit(data, facts)
        return sequence

    async def _guarded(self, guard: Callable[[], Awaitable[None]] | None, fence: str) -> int:
        """The sequence of the whole set at which its guard lets a change pass. Raises the refusal."""
        sequence = await self._sequence(fence)
        if guard is not None:
            await guard()
        return sequence


def _decoded[R: Any](kind: Kind[R], raw: RawRecord) -> ControlRecord[R]:
    try:
        return kind.decode(raw.payload)
    except UnreadableRecord as error:
        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error}") from error


def _joins[R: Any](kind: Kind[R], before: R | None, change: Change[R]) -> bool:
    """Whether a change makes a resource one of its set, or gives it another unique name there."""
    if change.deed == "deleted":
        return False
    if before is None or not kind.counts(before):
        return True
    return kind.unique_name(before) != kind.unique_name(change.data)
