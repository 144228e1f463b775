"""A kind with its rules: read one, change one. What a resource's routes and other services use of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.domain.control.aggregate import Change, Kind
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.timestamp import Timestamp


@dataclass(frozen=True, slots=True)
class Collection[R: Any, C]:
    """All resources of one kind."""

    kind: Kind[R]
    decide: Callable[[R | None, C, Timestamp], Change[R] | None]
    missing: Callable[[], NotFound]
    """The refusal when there is no such resource."""

    async def get(
        self, aggregates: Aggregates, workspace_id: WorkspaceId, identifier: str, *, within: str | None = None
    ) -> R:
        """A resource of the workspace as the log has it now. Raises NotFound, LogUnavailable."""
        found = (await aggregates.load(self.kind, workspace_id, identifier, within=within)).data
        if found is None:
            raise self.missing()
        return found

    async def change(
        self,
        aggregates: Aggregates,
        actor: Actor,
        identifier: str,
        command: C,
        *,
        within: str | None = None,
        guard: Callable[[], Awaitable[None]] | None = None,
    ) -> R:
        """Carry out a command and return the resource after it (a deleted one: before it).

        ``guard`` says whether the set is still one that may change. Raises Refused, LogUnavailable, LogConflict.
        """
        return await aggregates.execute(
            self.kind,
            actor,
            identifier,
            lambda current, now: self.decide(current, command, now),
            within=within,
            guard=guard,
        )
