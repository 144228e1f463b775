"""The gateway's session projection: built again from the log, and asked for a page among few and many."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from efferent.common import codec
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain import timestamp
from efferent.common.domain.ids import DeploymentId, SessionId
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import Running, SessionState
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.reading import StreamReader
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.testing.specification import START_US, Story, message, say, toolset
from efferent.gateway.event_index import EventIndex
from efferent.gateway.projected import Changes, Folded, SessionQuery
from efferent.gateway.session_services import SessionParts, SessionServices
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage

REBUILT_GROUP: Final = "the session projection, built again"
LISTED_GROUP: Final = "lists of sessions"
_RECORDS_PER_SESSION: Final = 19
_AT_ONCE: Final = 200
_REBUILDS: Final = 3
_DEADLINE_S: Final = 300.0
_LISTED: Final = 100
_FEW: Final = 1_000
_ROWS_AT_ONCE: Final = 5_000
_LISTINGS: Final = 15


async def rebuilt(stage: Stage) -> list[Figure]:
    """Records per second of a gateway without its file, until lists show everything; the floor only reads them."""
    spec = stage.floor_nats
    connection = await connect([f"nats://127.0.0.1:{spec.port}"], name="bench", token=spec.token)
    await streams.declare(connection)
    blobs = LocalFolderBlobs(stage.folder / "rebuilt-blobs")
    log = JetStreamSessionLog(connection, blobs)
    await _fill(log, stage.sizes.rebuilt_records // _RECORDS_PER_SESSION)
    reader = StreamReader(connection, subjects.SESSIONS)
    rates, floors, count = [], [], 0
    count = 0
    for attempt in range(_REBUILDS):
        parts = SessionParts(
            log=log,
            feed=JetStreamFeed(connection, subjects.SESSIONS),
            control_log=JetStreamControlLog(connection),
            blobs=blobs,
            connection=connection,
            clock=SystemClock(),
            ids=RandomSeeds(),
            index_dir=stage.folder / f"rebuilt-{attempt}",
            behind_wait_s=_DEADLINE_S,
        )
        with _settled_garbage():
            started_s = time.perf_counter()
            count = sum([len(page) async for page in reader.pages("session.>", after=0, reach=None)])
            floors.append(count / (time.perf_counter() - started_s))
            services = SessionServices(parts)
            started_s = time.perf_counter()
            await services.start()
            await services.reach_end()
            rates.append(count / (time.perf_counter() - started_s))
        await services.stop()
    await connection.close()
    return [Figure(REBUILT_GROUP, f"from {count:,} records", median(rates), "records/s", median(floors), ">= 20,000")]


async def listed(stage: Stage) -> list[Figure]:
    """A page of sessions among many, against one among few: every filter, newest first."""
    few = await asyncio.to_thread(_index, stage.folder / "few.sqlite", _FEW)
    count = stage.sizes.listed_sessions
    many = await asyncio.to_thread(_index, stage.folder / "many.sqlite", count)
    workspace_id = Story().create().state.workspace_id
    queries = {
        "no filter": SessionQuery(workspace_id, "desc", _LISTED),
        "archived ones too": SessionQuery(workspace_id, "desc", _LISTED, include_archived=True),
        "a rare agent": SessionQuery(workspace_id, "desc", _LISTED, agent_id="agent_rare"),
        "running": SessionQuery(workspace_id, "desc", _LISTED, statuses=frozenset({"running"})),
        "a deployment": SessionQuery(workspace_id, "desc", _LISTED, deployment_id="depl_1"),
    }
    figures = []
    for name, query in queries.items():
        label = f"{_LISTED} of {count:,} sessions, {name} (floor: of {_FEW:,})"
        figures.append(Figure(LISTED_GROUP, label, _list_ms(many, query), "ms", _list_ms(few, query), "<= 3 (ratio)"))
    few.close()
    many.close()
    return figures


def _list_ms(index: EventIndex, query: SessionQuery) -> float:
    times = []
    for _ in range(_LISTINGS):
        started_s = time.perf_counter()
        index.sessions(query)
        times.append((time.perf_counter() - started_s) * 1_000)
    return median(times)


def _index(path: Path, count: int) -> EventIndex:
    """A file with so many sessions: half of them archived, and about two hundred of each rare kind."""
    index, like = EventIndex.open(path, "bench"), Story([toolset()]).create().state
    for start in range(0, count, _ROWS_AT_ONCE):
        numbers = range(start, min(count, start + _ROWS_AT_ONCE))
        states = [_session(like, number, is_rare=number % max(count // 200, 1) == 0) for number in numbers]
        index.write(Changes(applied=1, states={state.session_id: Folded(state, 1) for state in states}))
    return index


def _session(like: SessionState, number: int, *, is_rare: bool) -> SessionState:
    created_at = timestamp.from_epoch_us(START_US + number * 1_000)
    session_id = SessionId(f"sesn_{number:024d}")
    if not is_rare:
        archived_at = created_at if number % 2 else None
        return replace(like, session_id=session_id, created_at=created_at, archived_at=archived_at)
    return replace(
        like,
        session_id=session_id,
        created_at=created_at,
        agent=like.agent.model_copy(update={"id": "agent_rare"}),
        deployment_id=DeploymentId("depl_1"),
        status=Running(since=created_at),
    )


async def _fill(log: JetStreamSessionLog, sessions: int) -> None:
    story = Story([toolset()]).create()
    while len(story.records) < _RECORDS_PER_SESSION:
        story.send(message("What is the answer to this question?"))
        story.claim()
        story.reply(say("You said: What is the answer to this question?"))
    payloads = [codec.encode(record) for record in story.records[:_RECORDS_PER_SESSION]]
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def write(number: int) -> None:
        session_id, last = SessionId(f"sesn_{number:024d}"), 0
        async with at_once:
            for index, payload in enumerate(payloads):
                record = codec.decode(
                    payload.replace(story.state.session_id.encode() + b'"', session_id.encode() + b'"')
                )
                own = record.model_copy(update={"id": f"rec_{number}y{index}"})
                last = await log.append(session_id, "out", own, expected=last)

    await asyncio.gather(*(write(number) for number in range(max(sessions, 1))))


@contextmanager
def _settled_garbage() -> Iterator[None]:
    """As a started gateway has it: what was there before is not walked again (``runtime/service.py``)."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
