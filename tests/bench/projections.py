"""The gateway's projections, built again from the log."""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from efferent.common import codec
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.kinds import subject_of
from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.aggregate import Change, Deed, Kind
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.control.file import FILE
from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.reading import StreamReader
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.runtime.service import settle_garbage
from efferent.common.testing.specification import Story, message, say, toolset
from efferent.gateway.control.following import ControlFollower
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.sessions.services import SessionParts, SessionServices
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage

REBUILT_GROUP: Final = "projections, built again"
WANTED: Final = ">= 20,000"
_RECORDS_PER_SESSION: Final = 19
_AT_ONCE: Final = 200
_REBUILDS: Final = 5
_DEADLINE_S: Final = 300.0
_CONTROL_KINDS: Final[tuple[Kind[Any], ...]] = (AGENT, DEPLOYMENT_RUN, FILE, DEPLOYMENT_RUN)
"""One in four is an agent, which is dear to read; the others are small."""
_FIRST_DEEDS: Final[Mapping[str, Deed]] = {"deployment_run": "started"}
_GOLDEN: Final = Path(__file__).parents[1] / "golden" / "control" / "v1"


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
    figures = [
        Figure(REBUILT_GROUP, f"sessions, {count:,} records", median(rates), "records/s", median(floors), WANTED),
        await _control_rebuilt(stage, connection),
    ]
    await connection.close()
    return figures


async def _control_rebuilt(stage: Stage, connection: Connection) -> Figure:
    """The same for the control plane."""
    log, feed = JetStreamControlLog(connection), JetStreamFeed(connection, subjects.CONTROL)
    count = await _fill_control(log, stage.sizes.rebuilt_records // 2)
    reader = StreamReader(connection, subjects.CONTROL)
    rates, floors = [], []
    for attempt in range(_REBUILDS):
        projection = ControlProjection(
            stage.folder / f"rebuilt-control-{attempt}.sqlite", log, behind_wait_s=_DEADLINE_S
        )
        follower = ControlFollower(feed, projection, (), Metrics())
        with _settled_garbage():
            started_s = time.perf_counter()
            floors.append(
                sum([len(page) async for page in reader.pages("control.>", after=0, reach=None)])
                / (time.perf_counter() - started_s)
            )
            started_s = time.perf_counter()
            await projection.open("bench")
            follower.start()
            await projection.catch_up()
            rates.append(count / (time.perf_counter() - started_s))
        await follower.stop()
        await projection.close()
    name = f"control plane, {count:,} records"
    return Figure(REBUILT_GROUP, name, median(rates), "records/s", median(floors), WANTED)


async def _fill_control(log: JetStreamControlLog, count: int) -> int:
    """So many resources of four kinds, as the golden files have them; returns the stream's last sequence."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def write(number: int) -> int:
        async with at_once:
            kind = _CONTROL_KINDS[number % len(_CONTROL_KINDS)]
            deed = _FIRST_DEEDS.get(kind.name, "created")
            like = kind.decode((_GOLDEN / f"{kind.name}.{deed}.json").read_bytes())
            data = like.data.model_copy(update={"id": f"{kind.prefix}{number:024d}"})
            subject = subject_of(kind, like.workspace_id, data.id, None)
            payload = kind.encode(Change(deed, data), at=like.at, workspace_id=like.workspace_id, actor=like.actor)
            return await log.append(subject, payload, expected=0)

    return max(await asyncio.gather(*(write(number) for number in range(max(count, len(_CONTROL_KINDS))))))


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
    """The garbage collector as a started gateway has it."""
    threshold = gc.get_threshold()
    settle_garbage()
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
