"""API keys: how they look, how they are made and revoked, and their aggregate ``control.api_key.<id>`` in the log.

The log holds hashes only. A key is 256 bits of randomness (or what an operator chose), so one SHA-256 is enough to keep
it secret and lets a server find a key by its hash. A key is of a workspace, or, as an environment key, of one
environment of it. Revoking is final: a key that was revoked never becomes valid again.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from efferent.common.domain import ids, timestamp
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable, RawRecord

KEY_PREFIX: Final = "sk-ant-efferent-"
ENVIRONMENT_KEY_PREFIX: Final = "sk-ant-oat01-"
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
    environment_id: EnvironmentId | None = None
    """The environment of an environment key, which reaches nothing else; None: a key of the whole workspace."""
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None

    def is_valid(self, now: Timestamp) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class UnknownKey(LookupError):
    """There is no key with this id."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class ApiKeyRecord(BaseModel):
    """One record of the aggregate: its full state after what happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    type: Literal["api_key.created", "api_key.revoked"]
    at: Timestamp
    workspace_id: WorkspaceId
    data: ApiKey


def generate_key(environment_id: EnvironmentId | None = None) -> str:
    """A fresh key, which shows by its beginning whether it is an environment key."""
    return (KEY_PREFIX if environment_id is None else ENVIRONMENT_KEY_PREFIX) + secrets.token_urlsafe(32)


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
    control_log: ControlLog,
    *,
    name: str,
    clock: Clock,
    workspace_id: WorkspaceId = DEFAULT_WORKSPACE_ID,
    environment_id: EnvironmentId | None = None,
    expires_at: Timestamp | None = None,
    after: int | None = None,
) -> tuple[str, ApiKey]:
    """Make a key and record its hash. Returns the key, which cannot be read again, and what is recorded.

    Whether the workspace and the environment exist is for the caller to know. ``after``: the sequence of all keys that
    the caller decided on; when another key was written since, nothing is written. Raises LogConflict then,
    LogUnavailable.
    """
    key = generate_key(environment_id)
    made = _new(key, name, clock, workspace_id, environment_id, expires_at)
    fence = None if after is None else SUBJECT_PATTERN
    await _append(control_log, "api_key.created", made, at=made.created_at, expected=after or 0, fence=fence)
    return key, made


async def ensure_key(
    control_log: ControlLog,
    key: str,
    *,
    name: str,
    clock: Clock,
    workspace_id: WorkspaceId = DEFAULT_WORKSPACE_ID,
) -> ApiKey:
    """Make this very key known; nothing is written when it is known already. One that was revoked stays revoked.

    Raises UnusableKey, LogUnavailable, and LogUnreadable when the aggregate has an unknown shape.
    """
    check_usable(key)
    for _ in range(_WRITE_TRIES_MAX):
        latest = await control_log.last(subject(key_id(key)))
        if latest is not None:
            return decode(latest).data
        wanted = _new(key, name, clock, workspace_id)
        try:
            await _append(control_log, "api_key.created", wanted, at=wanted.created_at, expected=0)
        except LogConflict:
            continue
        return wanted
    raise LogConflict(0)


async def load_key(control_log: ControlLog, identifier: ApiKeyId) -> ApiKey:
    """What is recorded of a key. Raises UnknownKey, LogUnavailable, LogUnreadable."""
    return (await _latest(control_log, identifier))[1]


async def revoke_key(control_log: ControlLog, identifier: ApiKeyId, *, clock: Clock) -> ApiKey:
    """End a key for good; repeating it changes nothing. Raises UnknownKey, LogUnavailable, LogUnreadable."""
    for _ in range(_WRITE_TRIES_MAX):
        sequence, known = await _latest(control_log, identifier)
        if known.revoked_at is not None:
            return known
        now = timestamp.from_epoch_us(clock.now_us())
        revoked = known.model_copy(update={"revoked_at": now})
        try:
            await _append(control_log, "api_key.revoked", revoked, at=now, expected=sequence)
        except LogConflict:
            continue
        return revoked
    raise LogConflict(0)


async def list_keys(
    control_log: ControlLog, *, workspace_id: WorkspaceId | None = None, environment_id: EnvironmentId | None = None
) -> list[ApiKey]:
    """All keys, or those of a workspace or environment, oldest first; expired and revoked ones included.

    Raises LogUnavailable, LogUnreadable.
    """
    keys, _ = await read_keys(control_log)
    return [
        key
        for key in keys
        if (workspace_id is None or key.workspace_id == workspace_id)
        and (environment_id is None or key.environment_id == environment_id)
    ]


async def read_keys(control_log: ControlLog) -> tuple[list[ApiKey], int]:
    """All keys in their newest state, oldest first, and the sequence that this is the state of.

    Reads the history of all keys: for people and rare requests, not for the way of every request.
    Raises LogUnavailable, LogUnreadable.
    """
    latest: dict[ApiKeyId, ApiKey] = {}
    sequence = 0
    async for raw in control_log.read(SUBJECT_PATTERN):
        key = decode(raw).data
        latest[key.id] = key
        sequence = raw.sequence
    return sorted(latest.values(), key=lambda key: (key.created_at, key.id)), sequence


def _new(
    key: str,
    name: str,
    clock: Clock,
    workspace_id: WorkspaceId,
    environment_id: EnvironmentId | None = None,
    expires_at: Timestamp | None = None,
) -> ApiKey:
    return ApiKey(
        id=key_id(key),
        name=name[:NAME_LENGTH_MAX],
        hash=hash_key(key),
        workspace_id=workspace_id,
        environment_id=environment_id,
        created_at=timestamp.from_epoch_us(clock.now_us()),
        expires_at=expires_at,
    )


async def _latest(control_log: ControlLog, identifier: ApiKeyId) -> tuple[int, ApiKey]:
    if not ids.is_well_formed("apikey_", identifier):
        raise UnknownKey
    raw = await control_log.last(subject(identifier))
    if raw is None:
        raise UnknownKey
    return raw.sequence, decode(raw).data


async def _append(
    control_log: ControlLog,
    event: Literal["api_key.created", "api_key.revoked"],
    key: ApiKey,
    *,
    at: Timestamp,
    expected: int,
    fence: str | None = None,
) -> None:
    record = ApiKeyRecord(type=event, at=at, workspace_id=key.workspace_id, data=key)
    await control_log.append(subject(key.id), record.model_dump_json().encode(), expected=expected, fence=fence)
