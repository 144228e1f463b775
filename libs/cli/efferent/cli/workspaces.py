"""``efferent workspaces``: makes, lists and archives workspaces in the log of a running server."""

import argparse
import asyncio
import json
import os
import sys

from efferent.cli.errors import CommandError
from efferent.cli.log_access import control_log, log_settings, refusal
from efferent.cli.table import print_table
from efferent.common import workspaces
from efferent.common.api_keys import DEFAULT_WORKSPACE_ID
from efferent.common.domain.ids import WorkspaceId
from efferent.common.ports import LogError
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.workspaces import UnknownWorkspace, WorkspaceRefused

_COLUMNS = ("id", "name", "created_at", "archived_at")


def main(arguments: argparse.Namespace) -> int:
    """Carry out the action that the command line names. Raises CommandError."""
    try:
        match arguments.action:
            case "create":
                return asyncio.run(_create(arguments.workspace_name))
            case "list":
                return asyncio.run(_list(as_json=arguments.json))
            case _:
                return asyncio.run(_archive(WorkspaceId(arguments.workspace_id)))
    except LogError as error:
        raise refusal(error) from error
    except WorkspaceRefused as error:
        raise CommandError(str(error)) from error


async def _create(name: str) -> int:
    async with control_log(log_settings(os.environ)) as log:
        made = await workspaces.create_workspace(log, name=name, seed=RandomSeeds().seed(), clock=SystemClock())
    print(f"efferent: 'efferent keys create --workspace {made.id}' makes a key of it", file=sys.stderr)
    print(made.id)
    return 0


async def _list(*, as_json: bool) -> int:
    async with control_log(log_settings(os.environ)) as log:
        known = await workspaces.list_workspaces(log)
    default = dict.fromkeys(_COLUMNS) | {"id": DEFAULT_WORKSPACE_ID, "name": workspaces.DEFAULT_NAME}
    rows = [default, *(workspace.model_dump() for workspace in known)]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows, _COLUMNS)
    return 0


async def _archive(workspace_id: WorkspaceId) -> int:
    async with control_log(log_settings(os.environ)) as log:
        try:
            archived = await workspaces.archive_workspace(log, workspace_id, clock=SystemClock())
        except UnknownWorkspace as error:
            raise CommandError(f"there is no workspace {workspace_id}; 'efferent workspaces list' shows all") from error
    print(
        f"efferent: {archived.id} ({archived.name}) is archived since {archived.archived_at}; "
        "its keys are refused, nothing of it is deleted",
        file=sys.stderr,
    )
    return 0
