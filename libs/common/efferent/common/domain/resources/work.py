"""Work items of self-hosted environments: as they are kept, and as they are answered."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.timestamp import Timestamp

WorkState = Literal["queued", "starting", "active", "stopping", "stopped"]


class Stored(BaseModel):
    """Base of what stands in the log: closed, so that an unknown field is noticed and never lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkClaim(Stored):
    """Who took the item from the queue last."""

    at: Timestamp
    key_id: ApiKeyId
    """The key that polled; when it is revoked, the claim's token is worth nothing."""
    token_hash: str


class WorkItem(Stored):
    """One stretch of work on one session: everything that is known about it, without any secret."""

    v: Literal[1] = 1
    id: WorkId
    environment_id: EnvironmentId
    workspace_id: WorkspaceId
    session_id: SessionId
    state: WorkState
    metadata: dict[str, str] = {}
    created_at: Timestamp
    queued_at: Timestamp
    """When it last came into the queue."""
    claim: WorkClaim | None = None
    """Set from the first poll on; an item in the queue with a claim is pending."""
    superseded: tuple[str, ...] = ()
    """Hashes of the tokens of former claims, newest first: their holders are told that they lost the lease."""
    acknowledged_at: Timestamp | None = None
    started_at: Timestamp | None = None
    latest_heartbeat_at: Timestamp | None = None
    stop_requested_at: Timestamp | None = None
    stopped_at: Timestamp | None = None
    lease_until: Timestamp | None = None
    ttl_s: int
    """How long the lease lasts: the server's own time until a heartbeat asks for another one."""
    own_ttl_s: int | None = None
    """The server's own time, which the next worker begins with; None in items of older releases."""
    seen: int = 0
    """Sequence of the session's log up to which nothing calls for another item once this one has stopped."""
    wanted_by: int
    """Sequence of the session's record that called for this item."""


class SessionWork(Shape):
    """What an item is about."""

    type: Literal["session"] = "session"
    id: SessionId


class Work(Shape):
    """The work item as clients get it."""

    id: WorkId
    type: Literal["work"] = "work"
    environment_id: EnvironmentId
    data: SessionWork
    state: WorkState
    metadata: dict[str, str]
    secret: str | None = None
    """Only in the answer to the poll that claimed it."""
    created_at: Timestamp
    acknowledged_at: Timestamp | None
    started_at: Timestamp | None
    latest_heartbeat_at: Timestamp | None
    stop_requested_at: Timestamp | None
    stopped_at: Timestamp | None


class WorkHeartbeat(Shape):
    """The answer to a heartbeat."""

    type: Literal["work_heartbeat"] = "work_heartbeat"
    last_heartbeat: str
    lease_extended: bool
    state: WorkState
    ttl_seconds: int


class WorkQueueStats(Shape):
    """How full a queue is."""

    type: Literal["work_queue_stats"] = "work_queue_stats"
    depth: int
    pending: int
    oldest_queued_at: Timestamp | None
    workers_polling: int


def work_of(item: WorkItem, *, secret: str | None = None) -> Work:
    """The item as clients get it."""
    return Work(
        id=item.id,
        environment_id=item.environment_id,
        data=SessionWork(id=item.session_id),
        state=item.state,
        metadata=item.metadata,
        secret=secret,
        created_at=item.created_at,
        acknowledged_at=item.acknowledged_at,
        started_at=item.started_at,
        latest_heartbeat_at=item.latest_heartbeat_at,
        stop_requested_at=item.stop_requested_at,
        stopped_at=item.stopped_at,
    )
