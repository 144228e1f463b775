"""Rules of the work queue of a self-hosted environment: who may take an item, who holds its lease, when it ends.

    queued --poll--> queued with a claim (pending) --ack--> starting --first heartbeat--> active
    --stop--> stopping --confirmed or forced--> stopped

A lease that runs out puts an item that is starting or active back into the queue, and ends one that is stopping. Nobody
has to be there for that: ``at`` tells what an item is at a time, and every rule begins with it. A claim that is not
acknowledged has no lease: another poll may take it over when it is as old as that poll says.
"""

from dataclasses import dataclass
from typing import Final

from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.refusals import Conflict
from efferent.common.domain.resources.work import WorkClaim, WorkHeartbeat, WorkItem
from efferent.common.domain.timestamp import Timestamp, after, later

NO_HEARTBEAT: Final = "NO_HEARTBEAT"
"""What the first heartbeat of a lease expects."""
TTL_S_MIN: Final = 2
TTL_S_MAX: Final = 3_600
RECLAIM_MS_DEFAULT: Final = 5_000
SUPERSEDED_MAX: Final = 8
"""Former tokens of an item that are remembered."""


class LeaseLost(Exception):
    """The heartbeat expected another lease than the one there is: 412, with what there is."""

    def __init__(self, item: WorkItem) -> None:
        super().__init__("expected_last_heartbeat does not match: another worker may hold the lease")
        self.item = item


@dataclass(frozen=True, slots=True)
class Beat:
    """An accepted heartbeat: the item after it, and what the worker is told."""

    item: WorkItem
    told: WorkHeartbeat


@dataclass(frozen=True, slots=True)
class NewWork:
    """What makes an item."""

    id: WorkId
    environment_id: EnvironmentId
    workspace_id: WorkspaceId
    session_id: SessionId
    ttl_s: int
    wanted_by: int
    """Sequence of the session's record that calls for it."""


def enqueue(new: NewWork, now: Timestamp) -> WorkItem:
    """A fresh item in the queue."""
    return WorkItem(
        id=new.id,
        environment_id=new.environment_id,
        workspace_id=new.workspace_id,
        session_id=new.session_id,
        state="queued",
        created_at=now,
        queued_at=now,
        ttl_s=new.ttl_s,
        own_ttl_s=new.ttl_s,
        wanted_by=new.wanted_by,
    )


def at(item: WorkItem, now: Timestamp) -> WorkItem:
    """The item as it is at this time: a lease may have run out since it was written."""
    match item.state:
        case "starting" | "active" if item.lease_until is not None and item.lease_until <= now:
            return _requeued(item, item.lease_until)
        case "stopping" if item.lease_until is None or item.lease_until <= now:
            return _stopped(item, item.lease_until or now)
        case "queued" | "starting" | "active" | "stopping" | "stopped":
            return item


def is_claimable(item: WorkItem, now: Timestamp, reclaim_older_than_ms: int) -> bool:
    """Whether a poll may take the item: it waits, or who took it has not acknowledged it for so long."""
    item = at(item, now)
    if item.state != "queued":
        return False
    return item.claim is None or later(item.claim.at, reclaim_older_than_ms / 1_000) <= now


def claim(item: WorkItem, now: Timestamp, *, key_id: ApiKeyId, token_hash: str, seen: int) -> WorkItem:
    """Take a claimable item from the queue; the token of an earlier claim ends."""
    item = _without_claim(at(item, now))
    made = WorkClaim(at=now, key_id=key_id, token_hash=token_hash)
    return item.model_copy(update={"claim": made, "seen": max(item.seen, seen)})


def acknowledge(item: WorkItem, now: Timestamp) -> WorkItem:
    """The item leaves the queue; its worker has a whole lease until its first heartbeat. Raises Conflict when stopped.

    Repeating it, or acknowledging what a heartbeat made active, changes no state.
    """
    item = at(item, now)
    match item.state:
        case "queued":
            lease = later(now, item.ttl_s)
            return item.model_copy(update={"state": "starting", "acknowledged_at": now, "lease_until": lease})
        case "starting" | "active" | "stopping":
            return item if item.acknowledged_at else item.model_copy(update={"acknowledged_at": now})
        case "stopped":
            raise Conflict(f"work {item.id} is stopped")


def heartbeat(
    item: WorkItem, now: Timestamp, *, expected: str | None, ttl_s: int | None, token_hash: str | None = None
) -> Beat:
    """Take or extend the lease. Raises LeaseLost when ``expected`` is not the last heartbeat of the lease.

    ``token_hash``: of the sessions token that asks; LeaseLost as well when it is that of a former claim. An item that
    stops or has stopped compares nothing, extends nothing and tells its state.
    """
    item = at(item, now)
    if item.state in ("stopping", "stopped"):
        return Beat(item, _told(item, lease_extended=False))
    if token_hash is not None and not holds(item, token_hash):
        raise LeaseLost(item)
    if expected is not None and expected != (item.latest_heartbeat_at or NO_HEARTBEAT):
        raise LeaseLost(item)
    beaten_at = _newer(now, item.latest_heartbeat_at)
    ttl_s = item.ttl_s if ttl_s is None else min(max(ttl_s, TTL_S_MIN), TTL_S_MAX)
    changed = item.model_copy(
        update={
            "state": "active",
            "started_at": item.started_at or beaten_at,
            "latest_heartbeat_at": beaten_at,
            "lease_until": later(beaten_at, ttl_s),
            "ttl_s": ttl_s,
        }
    )
    return Beat(changed, _told(changed, lease_extended=True))


def stop(
    item: WorkItem, now: Timestamp, *, force: bool, seen: int | None = None, token_hash: str | None = None
) -> WorkItem:
    """End the item: at once when forced or when nobody beats for it, else when its worker confirms or its lease ends.

    ``seen``: the session's last sequence when somebody else than the worker asks, so that only what comes later calls
    for a new item. ``token_hash``: of the sessions token that asks. Raises Conflict when it is stopped already, or when
    the token is that of a former claim.
    """
    item = at(item, now)
    if item.state == "stopped":
        raise Conflict(f"work {item.id} is already stopped")
    if token_hash is not None and not holds(item, token_hash):
        raise Conflict(f"work {item.id} belongs to another worker by now")
    if item.stop_requested_at is None:
        item = item.model_copy(update={"stop_requested_at": now, "seen": max(item.seen, seen or 0)})
    if force or item.latest_heartbeat_at is None:
        return _stopped(item, now)
    return item.model_copy(update={"state": "stopping"})


def holds(item: WorkItem, token_hash: str) -> bool:
    """Whether a token of this hash is the one of the item's claim."""
    return item.claim is not None and item.claim.token_hash == token_hash


def knows_token(item: WorkItem, token_hash: str) -> bool:
    """Whether the token is or was the one of a claim of this item."""
    return holds(item, token_hash) or token_hash in item.superseded


def is_token_live(item: WorkItem, now: Timestamp, token_hash: str) -> bool:
    """Whether the token may do more than end its own item: its claim stands and the lease has not run out.

    A claim without a lease yet counts as leased from the moment of the poll.
    """
    item = at(item, now)
    until = token_until(item)
    return holds(item, token_hash) and until is not None and now < until


def token_until(item: WorkItem) -> Timestamp | None:
    """When the token of the item's claim ends if nothing happens; None when it has ended or there is none."""
    if item.claim is None or item.state == "stopped":
        return None
    return item.lease_until or later(item.claim.at, item.ttl_s)


def _requeued(item: WorkItem, now: Timestamp) -> WorkItem:
    fresh = {"acknowledged_at": None, "started_at": None, "latest_heartbeat_at": None, "lease_until": None}
    fresh_ttl = {"ttl_s": item.own_ttl_s or item.ttl_s}  # what a worker asked for is not the next one's
    return _without_claim(item).model_copy(update={"state": "queued", "queued_at": now, **fresh, **fresh_ttl})


def _without_claim(item: WorkItem) -> WorkItem:
    if item.claim is None:
        return item
    superseded = (item.claim.token_hash, *item.superseded)[:SUPERSEDED_MAX]
    return item.model_copy(update={"claim": None, "superseded": superseded})


def _stopped(item: WorkItem, now: Timestamp) -> WorkItem:
    return item.model_copy(update={"state": "stopped", "stopped_at": now, "lease_until": None})


def _told(item: WorkItem, *, lease_extended: bool) -> WorkHeartbeat:
    return WorkHeartbeat(
        last_heartbeat=item.latest_heartbeat_at or "",
        lease_extended=lease_extended,
        state=item.state,
        ttl_seconds=item.ttl_s,
    )


def _newer(now: Timestamp, last: Timestamp | None) -> Timestamp:
    """This time, or just after the last heartbeat: two heartbeats never have the same name."""
    return now if last is None or now > last else after(last)
