"""The session log by itself: appends and replay through its port, against bare requests to the same nats-server."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import nats
import orjson
from nats.aio.client import Client as Nats

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import RecordId, SessionId
from efferent.common.domain.record import Record
from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import connect
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.testing.specification import Story, message, say, toolset
from tests.bench import floor
from tests.bench.figures import Figure, median
from tests.bench.stage import Stage

GROUP: Final = "the log"
_SESSIONS: Final = 20
_REPLAYS: Final = 5


async def rates(stage: Stage) -> list[Figure]:
    """Records appended, read and folded per second by one process. The floor reads payloads and decodes nothing."""
    spec = stage.floor_nats
    url = f"nats://127.0.0.1:{spec.port}"
    history = _history(stage.sizes.appended_records // _SESSIONS // 3)
    nc = await nats.connect(url, token=spec.token)
    connection = await connect([url], name="bench", token=spec.token)
    await streams.declare(connection, replicas=1)
    log = JetStreamSessionLog(connection, LocalFolderBlobs(stage.folder / "blobs"))
    floor_appends = await _floor_appends(nc, len(history), _SESSIONS)
    appends = await _appends(log, history, _SESSIONS)
    floor_replays, replays, read = [], [], list[Record]()
    for _ in range(_REPLAYS):  # the first one also makes what decodes
        floor_replays.append(await _floor_replay(nc, len(history)))
        started_s = time.perf_counter()
        read = [stored.record async for stored in log.read(_session_id(0))]
        replays.append(len(read) / (time.perf_counter() - started_s))
    reads, floor_reads = median(replays), median(floor_replays)
    events = sum(len(record.entries) for record in read)
    started_s = time.perf_counter()
    fold(None, read)
    folds = events / (time.perf_counter() - started_s)
    await connection.close()
    await nc.close()
    return [
        Figure(GROUP, f"appends, {_SESSIONS} sessions at once", appends, "records/s", floor_appends),
        Figure(GROUP, "replay of one session", reads, "records/s", floor_reads),
        Figure(GROUP, "replay of one session, events", reads * events / len(read), "events/s"),
        Figure(GROUP, "folding", folds, "events/s"),
    ]


def _history(turns: int) -> list[Record]:
    """A session's records, as gateway and brain would write them."""
    story = Story([toolset()]).create()
    for number in range(turns):
        story.send(message(f"question {number}"))
        story.claim()
        story.reply(say(f"You said: question {number}"))
    return story.records


async def _appends(log: JetStreamSessionLog, history: Sequence[Record], sessions: int) -> float:
    """Write the history to each session, all at once."""

    async def write(number: int) -> None:
        last = 0
        for index, record in enumerate(history):
            # The log tells records apart by their ids; all sessions have the same history here.
            own = record.model_copy(update={"id": RecordId(f"rec_{number}x{index}")})
            last = await log.append(_session_id(number), "out", own, expected=last)

    started_s = time.perf_counter()
    await asyncio.gather(*(write(number) for number in range(sessions)))
    return sessions * len(history) / (time.perf_counter() - started_s)


async def _floor_appends(nc: Nats, count: int, sessions: int) -> float:
    async def write(number: int) -> None:
        last = 0
        for _ in range(count):
            last = await floor.append(nc, f"rate{number}", "out", floor.RECORD, last)

    started_s = time.perf_counter()
    await asyncio.gather(*(write(number) for number in range(sessions)))
    return sessions * count / (time.perf_counter() - started_s)


async def _floor_replay(nc: Nats, count: int) -> float:
    """Read one session by a batch direct get, and look at nothing."""
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    question = orjson.dumps({"seq": 1, "next_by_subj": "floor.rate0.*", "batch": count})
    started_s = time.perf_counter()
    await nc.publish(f"$JS.API.DIRECT.GET.{floor.STREAM}", question, reply=inbox)
    for _ in range(count):
        await subscription.next_msg(timeout=10)
    rate = count / (time.perf_counter() - started_s)
    await subscription.unsubscribe()
    return rate


def _session_id(number: int) -> SessionId:
    return SessionId(f"sesn_rate{number}")
