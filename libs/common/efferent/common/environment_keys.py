"""Environment keys: API keys that reach one self-hosted environment's work queue and sessions, and nothing else.

A worker outside the server holds one. It is a key like the others (``efferent.common.api_keys``) that names its
environment; what is here is who may get one.
"""

from typing import Final

from efferent.common import api_keys
from efferent.common.api_keys import ApiKey
from efferent.common.control.kinds import kind_at
from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import UnreadableRecord
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, WorkspaceId, is_well_formed
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.environment import Environment, SelfHostedConfig
from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream import subjects
from efferent.common.ports import Clock, ControlLog, LogConflict, LogUnreadable

KEYS_MAX: Final = 100
"""Keys of one environment that are not revoked."""
NOT_FOUND_TEXT: Final = "Environment key not found."

_WRITE_TRIES_MAX: Final = 10


async def find_environment(
    control_log: ControlLog, environment_id: EnvironmentId
) -> tuple[WorkspaceId, Environment] | None:
    """An environment of whatever workspace, for an operator who knows no workspaces. Raises LogUnavailable."""
    if not is_well_formed("env_", environment_id):
        return None
    found: tuple[WorkspaceId, Environment] | None = None
    async for raw in control_log.read(subjects.control_in_any_set(ENVIRONMENT.subject_family, environment_id)):
        if kind_at(raw.subject) is not ENVIRONMENT:
            continue
        try:
            record = ENVIRONMENT.decode(raw.payload)
        except UnreadableRecord as error:
            raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error}") from error
        found = None if ENVIRONMENT.is_deleted(record) else (record.workspace_id, record.data)
    return found


async def create_environment_key(
    control_log: ControlLog,
    environment: Environment,
    *,
    workspace_id: WorkspaceId,
    name: str,
    clock: Clock,
    expires_at: Timestamp | None = None,
) -> tuple[str, ApiKey]:
    """Make a key of the environment. Returns the key, which cannot be read again, and what is recorded.

    Raises InvalidRequest when the environment takes none or the expiry has passed, LogUnavailable, LogConflict.
    """
    _check(environment, expires_at, timestamp.from_epoch_us(clock.now_us()))
    for _ in range(_WRITE_TRIES_MAX):
        keys, sequence = await api_keys.read_keys(control_log)
        if sum(1 for key in keys if key.environment_id == environment.id and key.revoked_at is None) >= KEYS_MAX:
            raise InvalidRequest(f"An environment has at most {KEYS_MAX} keys: revoke one first.")
        try:
            return await api_keys.create_key(
                control_log,
                name=name,
                clock=clock,
                workspace_id=workspace_id,
                environment_id=environment.id,
                expires_at=expires_at,
                after=sequence,
            )
        except LogConflict:
            continue
    raise LogConflict(0)


async def list_environment_keys(control_log: ControlLog, environment_id: EnvironmentId) -> list[ApiKey]:
    """The environment's keys that are not revoked, newest first. Raises LogUnavailable, LogUnreadable."""
    keys = await api_keys.list_keys(control_log, environment_id=environment_id)
    return [key for key in reversed(keys) if key.revoked_at is None]


async def revoke_environment_key(
    control_log: ControlLog, environment_id: EnvironmentId, key_id: ApiKeyId, *, clock: Clock
) -> ApiKey:
    """End a key of the environment for good; repeating it changes nothing. Raises NotFound, LogUnavailable."""
    try:
        known = await api_keys.load_key(control_log, key_id)
    except api_keys.UnknownKey as error:
        raise NotFound(NOT_FOUND_TEXT) from error
    if known.environment_id != environment_id:
        raise NotFound(NOT_FOUND_TEXT)
    return await api_keys.revoke_key(control_log, key_id, clock=clock)


async def revoke_environment_keys(
    control_log: ControlLog, environment_id: EnvironmentId, *, clock: Clock
) -> list[ApiKeyId]:
    """End all keys of the environment for good; which those were. Raises LogUnavailable, LogUnreadable."""
    keys = await list_environment_keys(control_log, environment_id)
    for key in keys:
        await api_keys.revoke_key(control_log, key.id, clock=clock)
    return [key.id for key in keys]


def _check(environment: Environment, expires_at: Timestamp | None, now: Timestamp) -> None:
    if environment.archived_at is not None:
        raise InvalidRequest(f"Environment {environment.id} is archived.", code="environment_archived")
    if not isinstance(environment.config, SelfHostedConfig):
        raise InvalidRequest(f"Environment {environment.id} is not self-hosted: only workers need environment keys.")
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("expires_at: must be in the future")
