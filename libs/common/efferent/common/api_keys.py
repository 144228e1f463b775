"""API keys: how they look, how they are made, and their aggregate ``control.api_key.<id>`` in the control log.

The log holds hashes only. A key is 256 bits of randomness (or what an operator chose), so one SHA-256 is enough to keep
it secret and lets a server find a key by its hash.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from efferent.common.domain import ids, timestamp
from efferent.common.domain.ids import ApiKeyId, WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable, RawRecord

KEY_PREFIX: Final = "sk-ant-efferent-"
SUBJECT_PATTERN: Final = "control.api_key.*"
DEFAULT_WORKSPACE_ID: Final = WorkspaceId(ids.derive("wrkspc_", "default"))
NAME_LENGTH_MAX: Final = 256

_USABLE: Final = re.compile(r"[\x21-\x7e]{1,512}")
_WRITE_TRIES_MAX: Final = 5


class UnusableKey(ValueError):
    """An API key must be 1 to 512 printable ASCII characters without spaces, since it travels in a header."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class ApiKey(BaseModel):
    """What the log knows about a key: never the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ApiKeyId
    name: str
    hash: str
    workspace_id: WorkspaceId
    created_at: Timestamp
    revoked_at: Timestamp | None = None


class ApiKeyRecord(BaseModel):
    """One record of the aggregate: its full state after what happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    type: Literal["api_key.created", "api_key.revoked"]
    at: Timestamp
    workspace_id: WorkspaceId
    data: ApiKey


def generate_key() -> str:
    """A fresh key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def check_usable(key: str) -> None:
    """Raise UnusableKey when no client could send this key."""
    if _USABLE.fullmatch(key) is None:
        raise UnusableKey


def hash_key(key: str) -> str:
    """The form in which a key is kept and looked up: SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def matches(key: str, key_hash: str) -> bool:
    """Tell in constant time whether this is the key with that hash."""
    return hmac.compare_digest(hash_key(key), key_hash)


def key_id(key: str) -> ApiKeyId:
    """The id that this key always has."""
    return ApiKeyId(ids.derive("apikey_", hash_key(key)))


def subject(identifier: ApiKeyId) -> str:
    """The subject of a key's aggregate."""
    return f"control.api_key.{identifier}"


def decode(raw: RawRecord) -> ApiKeyRecord:
    """Read a record of the aggregate. Raises LogUnreadable."""
    try:
        return ApiKeyRecord.model_validate_json(raw.payload)
    except ValidationError as error:
        raise LogUnreadable(f"{raw.subject} at {raw.sequence}: not an API key of a version that is known") from error


async def create_key(
    control_log: ControlLog, *, name: str, clock: Clock, workspace_id: WorkspaceId = DEFAULT_WORKSPACE_ID
) -> tuple[str, ApiKey]:
    """Make a key and record its hash. Returns the key, which cannot be read again, and what is recorded.

    Raises LogUnavailable.
    """
    key = generate_key()
    return key, await ensure_key(control_log, key, name=name, clock=clock, workspace_id=workspace_id)


async def ensure_key(
    control_log: ControlLog,
    key: str,
    *,
    name: str,
    clock: Clock,
    workspace_id: WorkspaceId = DEFAULT_WORKSPACE_ID,
) -> ApiKey:
    """Make this very key valid, also when it was revoked before; nothing is written when it is valid already.

    Raises UnusableKey, LogUnavailable, and LogUnreadable when the aggregate has an unknown shape.
    """
    check_usable(key)
    identifier = key_id(key)
    for _ in range(_WRITE_TRIES_MAX):
        latest = await control_log.last(subject(identifier))
        if latest is not None and (known := decode(latest).data).revoked_at is None:
            return known
        now = timestamp.from_epoch_us(clock.now_us())
        wanted = ApiKey(
            id=identifier, name=name[:NAME_LENGTH_MAX], hash=hash_key(key), workspace_id=workspace_id, created_at=now
        )
        record = ApiKeyRecord(type="api_key.created", at=now, workspace_id=workspace_id, data=wanted)
        try:
            await control_log.append(
                subject(identifier),
                record.model_dump_json().encode(),
                expected=latest.sequence if latest is not None else 0,
            )
        except LogConflict:
            continue
        return wanted
    raise LogConflict(0)
