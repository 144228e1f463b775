"""A page of sessions over HTTP, among many and among few: every filter, and far behind the first page.

The sessions exist in the gateway's projection only: its file is written while the server is down. A list reads nothing
else, and a hundred thousand sessions would take minutes to make.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from efferent.cli.data_folder import read_nats_access
from efferent.common.api_keys import DEFAULT_WORKSPACE_ID
from efferent.common.domain import timestamp
from efferent.common.domain.ids import AgentId, DeploymentId, SessionId
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import Running, SessionState
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import connect
from efferent.common.testing.specification import START_US, Story, toolset
from efferent.gateway import sqlite_file
from efferent.gateway.sessions.event_index import EventIndex
from efferent.gateway.sessions.projected import Changes, Folded
from efferent.gateway.sessions.services import INDEX_FILE
from tests.bench.client import Client
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage
from tests.support.efferent_server import API_KEY, EfferentServer

GROUP: Final = "lists of sessions over HTTP"
WANTED: Final = "<= 3 (ratio)"
_LISTED: Final = 100
_FEW: Final = 1_000
_RARE: Final = 200
"""How many sessions have what the filters ask for."""
_ROWS_AT_ONCE: Final = 5_000
_LISTINGS: Final = 40
_AGENT: Final = AgentId("agent_" + "0" * 24)
_DEPLOYMENT: Final = DeploymentId("depl_" + "0" * 24)
_STEP_US: Final = 1_000
"""From the creation of one session to the next."""


async def listed(stage: Stage) -> list[Figure]:
    """A page of a server with many sessions (floor: with few); both are asked in turns."""
    figures, count = [], stage.sizes.listed_sessions
    async with _serving(stage.folder / "data-few", _FEW) as few, _serving(stage.folder / "data-many", count) as many:
        paths_of_few, paths_of_many = await _paths(few, _FEW), await _paths(many, count)
        for name in paths_of_many:
            many_ms, few_ms = await _times_ms((many, paths_of_many[name]), (few, paths_of_few[name]))
            label = f"{_LISTED} of {count:,} sessions, {name} (floor: of {_FEW:,})"
            figures.append(Figure(GROUP, label, many_ms, "ms", few_ms, WANTED))
    return figures


@asynccontextmanager
async def _serving(data_dir: Path, count: int) -> AsyncIterator[Client]:
    """A client of a server with so many sessions."""
    server = EfferentServer(data_dir)
    await asyncio.to_thread(server.start)
    try:
        stream = await _stream(data_dir)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(_write, data_dir / "gateway" / INDEX_FILE, stream, count)
        await asyncio.to_thread(server.start)
        async with Client(server.base_url, API_KEY) as client:
            yield client
    finally:
        if server.process is not None:
            await asyncio.to_thread(server.stop)


async def _paths(client: Client, count: int) -> dict[str, str]:
    """What is asked for, by name."""
    middle = timestamp.from_epoch_us(START_US + count // 2 * _STEP_US)
    queries: dict[str, dict[str, Any]] = {
        "no filter": {},
        "archived ones too": {"include_archived": "true"},
        "oldest first": {"order": "asc"},
        "the last page": {"page": await _last_page(client)},
        "made before the middle": {"created_at[lt]": middle},
        "an agent": {"agent_id": _AGENT},
        "running": {"statuses[]": "running"},
        "any of three statuses": {"statuses[]": ["idle", "running", "terminated"]},
        "a deployment": {"deployment_id": _DEPLOYMENT},
    }
    return {
        name: f"/v1/sessions?{urlencode({'limit': _LISTED, **parameters}, doseq=True)}"
        for name, parameters in queries.items()
    }


async def _times_ms(*asked: tuple[Client, str]) -> list[float]:
    """Each one's median, in the order of the arguments."""
    times: list[list[float]] = [[] for _ in asked]
    for _ in range(_LISTINGS):
        for found, (client, path) in zip(times, asked, strict=True):
            started_s = time.perf_counter()
            page = await client.get(path)
            found.append((time.perf_counter() - started_s) * 1_000)
            if len(page["data"]) != _LISTED:
                raise RuntimeError(f"{path}: {len(page['data'])} sessions instead of {_LISTED}")
    return [median(found) for found in times]


async def _last_page(client: Client) -> str:
    """The cursor of a client that has turned all pages but the last: behind it are the oldest sessions."""
    oldest = await client.get(f"/v1/sessions?limit={_LISTED + 1}&order=asc")
    before = {"limit": 1, "created_at[lte]": oldest["data"][-1]["created_at"]}
    return str((await client.get(f"/v1/sessions?{urlencode(before)}"))["next_page"])


async def _stream(data_dir: Path) -> str:
    access = read_nats_access(data_dir)
    if access is None:
        raise RuntimeError("the server has no nats-server of its own")
    connection = await connect([access.url], name="bench", token=access.token, within_s=5)
    try:
        return await streams.identity(connection, subjects.SESSIONS)
    finally:
        await connection.close()


def _write(path: Path, stream: str, count: int) -> None:
    """A file with so many sessions: half of the others are archived, and some have what the filters ask for."""
    sqlite_file.delete(path)
    index, like = EventIndex.open(path, stream), Story([toolset()]).create().state
    for start in range(0, count, _ROWS_AT_ONCE):
        numbers = range(start, min(count, start + _ROWS_AT_ONCE))
        states = [_session(like, number, is_rare=number % max(count // _RARE, 1) == 0) for number in numbers]
        index.write(Changes(applied=0, states={state.session_id: Folded(state, 1) for state in states}))
    index.close()


def _session(like: SessionState, number: int, *, is_rare: bool) -> SessionState:
    created_at = timestamp.from_epoch_us(START_US + number * _STEP_US)
    session = replace(
        like,
        session_id=SessionId(f"sesn_{number:024d}"),
        workspace_id=DEFAULT_WORKSPACE_ID,
        created_at=created_at,
    )
    if not is_rare:
        return replace(session, archived_at=created_at if number % 2 else None)
    return replace(
        session,
        agent=like.agent.model_copy(update={"id": _AGENT}),
        deployment_id=_DEPLOYMENT,
        status=Running(since=created_at),
    )
