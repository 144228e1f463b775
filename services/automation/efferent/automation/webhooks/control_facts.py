"""Reads of control records what webhooks need, of whatever kind they are. The only place that knows their JSON."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.webhook_events import ControlFact
from efferent.common.domain.webhook_types import CONTROL_TYPES
from efferent.common.ports import LogUnreadable, RawRecord


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Type(_Part):
    type: str


class _Trigger(_Part):
    type: Literal["schedule", "manual"]


class _Data(_Part):
    id: str
    vault_id: str | None = None
    trigger_context: _Trigger | None = None


class _Record(_Part):
    v: Literal[1]
    type: str
    at: Timestamp
    workspace_id: WorkspaceId
    data: _Data


def read(raw: RawRecord) -> ControlFact | None:
    """What the record says; None when its type is none of a webhook. Raises LogUnreadable."""
    try:
        if _Type.model_validate_json(raw.payload).type not in CONTROL_TYPES:
            return None
        record = _Record.model_validate_json(raw.payload)
    except ValidationError as error:
        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error.error_count()} problems") from error
    trigger = record.data.trigger_context
    return ControlFact(
        type=record.type,
        at=record.at,
        workspace_id=record.workspace_id,
        id=record.data.id,
        vault_id=record.data.vault_id if record.type.startswith("vault_credential.") else None,
        is_scheduled=trigger is not None and trigger.type == "schedule",
    )
