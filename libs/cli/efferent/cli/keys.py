"""``efferent keys``: makes, lists and revokes API keys in the log of a running server."""

import argparse
import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any, Final

from efferent.cli.data_folder import forget_api_key, read_api_key
from efferent.cli.errors import CommandError
from efferent.cli.log_access import control_log, log_settings, refusal
from efferent.cli.table import print_table
from efferent.cli.up_settings import data_dir
from efferent.common import api_keys, environment_keys, workspaces
from efferent.common.api_keys import DEFAULT_WORKSPACE_ID, ApiKey, UnknownKey
from efferent.common.domain import timestamp
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, WorkspaceId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import Clock, ControlLog, LogError
from efferent.common.runtime.clock import SystemClock

DAYS_MAX: Final = 36_500


def main(arguments: argparse.Namespace) -> int:
    """Carry out the action that the command line names. Raises CommandError."""
    try:
        match arguments.action:
            case "create":
                return asyncio.run(_create(arguments))
            case "list":
                return asyncio.run(_list(arguments))
            case _:
                return asyncio.run(_revoke(ApiKeyId(arguments.key_id)))
    except LogError as error:
        raise refusal(error) from error


async def _create(arguments: argparse.Namespace) -> int:
    """Make a key and print it, alone on standard output."""
    clock = SystemClock()
    async with control_log(log_settings(os.environ)) as log:
        expires_at = _expiry(arguments.expires_in_days, clock)
        if arguments.environment is not None:
            key, made = await _create_for_environment(log, arguments, clock, expires_at)
        else:
            workspace_id = await _workspace(log, arguments.workspace)
            key, made = await api_keys.create_key(
                log, name=arguments.key_name, clock=clock, workspace_id=workspace_id, expires_at=expires_at
            )
    print(f"efferent: {made.id} ({made.name}); this is the only time that the key is shown", file=sys.stderr)
    print(key)
    return 0


async def _create_for_environment(
    log: ControlLog, arguments: argparse.Namespace, clock: Clock, expires_at: Timestamp | None
) -> tuple[str, ApiKey]:
    found = await environment_keys.find_environment(log, EnvironmentId(arguments.environment))
    if found is None or (arguments.workspace is not None and arguments.workspace != found[0]):
        raise CommandError(f"there is no environment {arguments.environment}")
    workspace_id, environment = found
    try:
        return await environment_keys.create_environment_key(
            log,
            environment,
            workspace_id=await _workspace(log, workspace_id),
            name=arguments.key_name,
            clock=clock,
            expires_at=expires_at,
        )
    except Refused as error:
        raise CommandError(error.message) from error


async def _list(arguments: argparse.Namespace) -> int:
    async with control_log(log_settings(os.environ)) as log:
        keys = await api_keys.list_keys(log, workspace_id=arguments.workspace, environment_id=arguments.environment)
    now = timestamp.from_epoch_us(SystemClock().now_us())
    rows = [_row(key, now) for key in keys if arguments.all or key.is_valid(now)]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows, ("id", "name", "workspace_id", "environment_id", "created_at", "expires_at", "state"))
    return 0


async def _revoke(key_id: ApiKeyId) -> int:
    async with control_log(log_settings(os.environ)) as log:
        try:
            known = await api_keys.revoke_key(log, key_id, clock=SystemClock())
        except UnknownKey as error:
            raise CommandError(f"there is no key {key_id}; 'efferent keys list' shows all") from error
    print(f"efferent: {known.id} ({known.name}) is revoked since {known.revoked_at}", file=sys.stderr)
    data = data_dir(os.environ)
    kept = read_api_key(data)
    if kept is not None and api_keys.matches(kept, known.hash):
        forget_api_key(data)
        print("efferent: it was the key kept in the data folder; the next start makes another", file=sys.stderr)
    return 0


async def _workspace(log: ControlLog, wanted: str | None) -> WorkspaceId:
    """The workspace to make a key in. Raises CommandError when it takes none."""
    if wanted is None or wanted == DEFAULT_WORKSPACE_ID:
        return DEFAULT_WORKSPACE_ID
    workspace = await workspaces.load_workspace(log, WorkspaceId(wanted))
    if workspace is None:
        raise CommandError(f"there is no workspace {wanted}; 'efferent workspaces list' shows all")
    if workspace.archived_at is not None:
        raise CommandError(f"workspace {wanted} is archived: it takes no new keys")
    return workspace.id


def _expiry(days: int | None, clock: Clock) -> Timestamp | None:
    if days is None:
        return None
    if not 1 <= days <= DAYS_MAX:
        raise CommandError(f"--expires-in-days: must be from 1 to {DAYS_MAX}")
    now = timestamp.to_datetime(timestamp.from_epoch_us(clock.now_us()))
    return timestamp.from_datetime(now + timedelta(days=days))


def _row(key: ApiKey, now: Timestamp) -> dict[str, Any]:
    """What a person sees of a key: never its hash."""
    state = "valid" if key.is_valid(now) else "expired" if key.revoked_at is None else "revoked"
    return {**key.model_dump(exclude={"hash"}), "state": state}
