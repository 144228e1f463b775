"""Reads records of the frequent kinds no further than lists need them.

A record says what shape its resource had when it was written. Where that is today's shape, clients get the resource as
it stands in the log (or a part of it), and only what it is listed by is read. Every other record is decoded as a whole;
the rows are the same.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.aggregate import VERSION, Kind
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.control.file import FILE
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.domain.resources.deployment_run import DeploymentRun
from efferent.common.domain.resources.file import File
from efferent.common.domain.timestamp import Timestamp


class _Agent(msgspec.Struct, gc=False):
    id: str
    version: int
    created_at: Timestamp
    archived_at: Timestamp | None


class _Trigger(msgspec.Struct, gc=False):
    type: str


class _DeploymentRun(msgspec.Struct, gc=False):
    id: str
    deployment_id: str
    trigger_context: _Trigger
    session_id: SessionId | None
    error: dict[str, str] | None
    created_at: Timestamp

    archived_at = DeploymentRun.archived_at
    is_finished = DeploymentRun.is_finished


class _FileMetadata(msgspec.Struct, gc=False):
    """What clients get of a file, in their order; ``test_lean_records.py`` holds it to be all."""

    type: str
    id: str
    filename: str
    mime_type: str
    size_bytes: int
    created_at: Timestamp
    downloadable: bool
    expires_at: Timestamp | None
    scope: dict[str, str] | None


class _FileScope(msgspec.Struct, gc=False):
    id: SessionId


class _File(msgspec.Struct, gc=False):
    id: str
    size_bytes: int
    created_at: Timestamp
    scope: _FileScope | None
    is_copy: bool

    archived_at = File.archived_at
    session_id = File.session_id


class _Record(msgspec.Struct, gc=False):
    v: int
    type: str
    workspace_id: WorkspaceId
    data: msgspec.Raw
    shape: str = ""


_RECORD: Final = msgspec.json.Decoder(_Record)
_LISTED_BY: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    AGENT.name: msgspec.json.Decoder(_Agent),
    DEPLOYMENT_RUN.name: msgspec.json.Decoder(_DeploymentRun),
    FILE.name: msgspec.json.Decoder(_File),
}
_SHOWN: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {FILE.name: msgspec.json.Decoder(_FileMetadata)}
"""Of kinds of which clients get a part: that part. Of the others they get all of it, as it was written."""


class LeanRecord(NamedTuple):
    """A record as far as it was read."""

    type: str
    workspace_id: WorkspaceId
    data: Any
    """Has every field of the resource that its kind lists it by."""
    shown: bytes
    """The resource as clients get it, as JSON."""


def read(kind: Kind[Any], payload: bytes) -> LeanRecord | None:
    """The record, when its resource is as it would be written today; None when it must be decoded as a whole."""
    listed_by = _LISTED_BY.get(kind.name)
    if listed_by is None:
        return None
    try:
        record = _RECORD.decode(payload)
        if record.v != VERSION or record.shape != kind.shape:
            return None
        part = _SHOWN.get(kind.name)
        shown = bytes(record.data) if part is None else msgspec.json.encode(part.decode(record.data))
        return LeanRecord(record.type, record.workspace_id, listed_by.decode(record.data), shown)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
