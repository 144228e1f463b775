"""What follows a session's last event: tombstone, sandbox, blobs, purge.

Each step can be repeated; half-done ones are finished.

The tombstone comes first: once it is written, every gateway that missed the last event learns of it, and the session's
id is never used again. The purge comes last: until then the log itself says what is still to be done.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson

from efferent.common import session_writing
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.jetstream import subjects
from efferent.common.ports import BlobStore, ControlLog, LogConflict, RawRecord, SessionLog
from efferent.gateway.sessions.projected import Deletion
from efferent.gateway.sessions.projection import SessionProjection
from efferent.gateway.sessions.public_events import Position, PublicEvent

TOMBSTONE_TYPE: Final = "session.deleted"
_VERSION: Final = 1


class NotReleased(Exception):
    """The session's sandbox could not be deleted now; the deletion is finished later."""


class Sandboxes(Protocol):
    """Where sessions' sandboxes are."""

    async def release(self, session_id: SessionId) -> None:
        """Delete the session's sandbox, workspace and journal; repeating it is harmless. Raises NotReleased."""


class Belongings(Protocol):
    """What a session has outside its log: files and secrets."""

    async def drop_all(self, workspace_id: WorkspaceId, session_id: SessionId) -> None:
        """Delete all of it; repeating it is harmless. Raises LogUnavailable, BlobsUnavailable."""


class SessionDeletion:
    """Carries deletions out."""

    def __init__(
        self,
        log: SessionLog,
        control_log: ControlLog,
        blobs: BlobStore,
        projection: SessionProjection,
        sandboxes: Sandboxes | None,
        belongings: Belongings | None = None,
    ) -> None:
        self._log = log
        self._control_log = control_log
        self._blobs = blobs
        self._projection = projection
        self._sandboxes = sandboxes
        self._belongings = belongings

    async def carry_out(self, deletion: Deletion) -> None:
        """Do everything that is left to do. Safe to repeat. Raises LogUnavailable, NotReleased."""
        subject = subjects.tombstone(deletion.session_id)
        with contextlib.suppress(LogConflict):  # then it is there
            await self._control_log.append(subject, tombstone_payload(deletion), expected=0)
        if self._sandboxes is not None:
            await self._sandboxes.release(deletion.session_id)
        if self._belongings is not None:
            await self._belongings.drop_all(deletion.workspace_id, deletion.session_id)
        await self._blobs.delete(f"{deletion.session_id}/")
        await self._log.purge(deletion.session_id)
        self._projection.remove((deletion,), is_purged=True)

    async def carry_out_all(self) -> None:
        """Finish what was left half done. Raises LogUnavailable, NotReleased (after all the others)."""
        not_released: NotReleased | None = None
        for deletion in await self._projection.deletions():
            try:
                await self.carry_out(deletion)
            except NotReleased as error:
                not_released = error
        if not_released is not None:
            raise not_released

    async def was_deleted(self, session_id: SessionId) -> bool:
        """Whether there is a tombstone. Raises LogUnavailable."""
        return await session_writing.was_deleted(self._control_log, session_id)

    async def take_back(self, session_id: SessionId) -> bool:
        """Remove a session that was made under the id of a deleted one; whether it was. Raises as ``carry_out`` does.

        The log takes a first record again after a purge, and the tombstone is older than that.
        """
        raw = await self._control_log.last(subjects.tombstone(session_id))
        deletion = parse_tombstone(raw) if raw is not None else None
        if deletion is None:
            return False
        await self.carry_out(deletion)
        return True


class TombstoneListener:
    """Follows ``CONTROL`` for sessions that were deleted, wherever that happened."""

    def __init__(self, projection: SessionProjection, gone: Callable[[SessionId, PublicEvent], None]) -> None:
        self._projection = projection
        self._gone = gone

    def apply(self, records: list[RawRecord]) -> None:
        """Take in records of ``CONTROL``, in order; never raises."""
        deletions = [deletion for record in records if (deletion := parse_tombstone(record)) is not None]
        for deletion in deletions:
            self._gone(deletion.session_id, _last_event(deletion))
        self._projection.remove(deletions)


def tombstone_payload(deletion: Deletion) -> bytes:
    """The tombstone as it stands in ``CONTROL``."""
    last = orjson.loads(deletion.last)
    data = {"id": deletion.session_id, "sequence": deletion.sequence, "event": last}
    return orjson.dumps(
        {
            "v": _VERSION,
            "type": TOMBSTONE_TYPE,
            "workspace_id": deletion.workspace_id,
            "at": last["processed_at"],
            "data": data,
        }
    )


def parse_tombstone(record: RawRecord) -> Deletion | None:
    """Read a tombstone; None when the record is anything else."""
    try:
        kind, _, identifier = subjects.parse_control(record.subject)
        if kind != subjects.TOMBSTONE_KIND:
            return None
        raw: dict[str, Any] = orjson.loads(record.payload)
        data = raw["data"]
        return Deletion(
            SessionId(identifier), WorkspaceId(raw["workspace_id"]), data["sequence"], orjson.dumps(data["event"])
        )
    except (subjects.BadSubject, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _last_event(deletion: Deletion) -> PublicEvent:
    event = orjson.loads(deletion.last)
    return PublicEvent(
        position=Position(deletion.sequence, 0),
        thread=None,
        type=event["type"],
        id=event["id"],
        processed_at=event["processed_at"],
        body=deletion.last,
    )
