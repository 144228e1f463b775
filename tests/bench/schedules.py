"""Many deployments that are due in the same minute: how long after its planned moment each run is there.

Nobody waits for a full hour here: the runs are begun by a scheduler in this process whose clock runs half a day ahead,
and performed by the server's own automation, which sees nothing unusual.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from efferent.automation.deployments.scheduler import Scheduler
from efferent.cli.data_folder import read_nats_access
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.deployments.firing import Firing, FiringTools
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.control.schedule import jitter_s, jitter_window_s
from efferent.common.domain.timestamp import to_datetime
from efferent.common.files.store import FileStore
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.model_config import load
from efferent.common.ports import ControlLog
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.secrets.box import SecretBox
from efferent.common.session_resources import ResourceAttacher
from tests.bench.figures import Figure, median, percentile
from tests.bench.stage import Stage

GROUP: Final = "deployments due at once"
_CREATES_AT_ONCE: Final = 32
_AHEAD: Final = timedelta(hours=12)
_LEAD_S: Final = 2.0
"""From the start of the scheduler to the slot."""
_WAIT_S: Final = 120.0
_PAGE: Final = 1_000


class ShiftedClock(SystemClock):
    """The machine's clock, some time ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead_us = ahead // timedelta(microseconds=1)

    def now_us(self) -> int:
        """Microseconds since 1970 in UTC, ahead."""
        return super().now_us() + self._ahead_us


async def due_at_once(stage: Stage) -> list[Figure]:
    """Make deployments with one schedule, let its slot come, and compare each run with its planned moment."""
    count, spacing_min = stage.sizes.due_deployments, stage.sizes.due_spacing_min
    slot = (datetime.now(UTC) + _AHEAD).replace(minute=0, second=0, microsecond=0)  # noqa: TID251
    minutes = ",".join(str(minute) for minute in range(0, 60, spacing_min))
    schedule = {"type": "cron", "expression": f"{minutes} {slot.hour} * * *", "timezone": "UTC"}
    await _make(stage, count, schedule)
    ahead = slot - timedelta(seconds=_LEAD_S) - datetime.now(UTC)  # noqa: TID251
    window_s = jitter_window_s(slot, slot + timedelta(minutes=spacing_min))
    async with _scheduler(stage, ahead) as control:
        await _finished(stage, count, window_s)
        recorded = await _recorded(control)
    late_s, after_s = [], []
    for deployment_id, at in recorded.items():
        since_slot_s = (at + ahead - slot).total_seconds()
        after_s.append(since_slot_s)
        late_s.append(since_slot_s - jitter_s(deployment_id, slot, window_s))
    inside = sum(since_s <= window_s for since_s in after_s) / count * 100
    return [
        Figure(GROUP, f"of {count:,} runs within their jitter window of {window_s:g} s", inside, "%", None, "100"),
        Figure(GROUP, "run recorded after its planned moment: p50", median(late_s) * 1_000, "ms"),
        Figure(GROUP, "the same: p99", percentile(late_s, 99) * 1_000, "ms"),
        Figure(GROUP, "last run after its slot", max(after_s), "s", None, f"<= {window_s:g}"),
    ]


async def _make(stage: Stage, count: int, schedule: dict[str, str]) -> None:
    limit = asyncio.Semaphore(_CREATES_AT_ONCE)
    text = [{"type": "text", "text": "It is time."}]
    body = stage.client.session_body() | {
        "name": "bench",
        "initial_events": [{"type": "user.message", "content": text}],
        "schedule": schedule,
    }

    async def one() -> None:
        async with limit:
            await stage.client.post("/v1/deployments", body)

    await asyncio.gather(*(one() for _ in range(count)))


@asynccontextmanager
async def _scheduler(stage: Stage, ahead: timedelta) -> AsyncIterator[ControlLog]:
    access = read_nats_access(stage.server.data_dir)
    if access is None:
        raise RuntimeError("the server has no nats-server of its own")
    connection = await connect([access.url], name="bench", token=access.token, within_s=5)
    control, blobs, ids = JetStreamControlLog(connection), LocalFolderBlobs(stage.folder / "none"), RandomSeeds()
    clock = ShiftedClock(ahead)
    aggregates = Aggregates(control, LogSets(control), clock, Metrics(), write_deadline_s=5)
    box = SecretBox(JetStreamDataKeys(connection), ())
    firing = Firing(
        FiringTools(
            aggregates=aggregates,
            control_log=control,
            session_log=JetStreamSessionLog(connection, blobs),
            models=load({}),
            attacher=ResourceAttacher(aggregates, FileStore(aggregates, blobs, clock, ids), box),
            box=box,
            clock=clock,
            ids=ids,
        )
    )
    scheduler = Scheduler(connection, control, clock, firing)
    await scheduler.start()
    try:
        yield control
    finally:
        await scheduler.stop()
        await connection.close()


async def _recorded(control: ControlLog) -> dict[str, datetime]:
    """When each deployment's run was recorded to have made its session, by the clock of who did it."""
    found: dict[str, datetime] = {}
    async for raw in control.read(subjects.control_fence(DEPLOYMENT_RUN.subject_family)):
        record = DEPLOYMENT_RUN.decode(raw.payload)
        if record.data.session_id is not None and record.data.trigger_context.type == "schedule":
            found[record.data.deployment_id] = to_datetime(record.at)
    return found


async def _finished(stage: Stage, count: int, window_s: float) -> None:
    """Wait until the API lists all runs. Raises RuntimeError."""
    deadline_s = time.monotonic() + window_s + _WAIT_S
    while (listed := await _listed(stage)) < count:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"only {listed} of {count} runs are there")
        await asyncio.sleep(1.0)


async def _listed(stage: Stage) -> int:
    """How many scheduled runs there are."""
    found, page = 0, ""
    while True:
        answer = await stage.client.get(f"/v1/deployment_runs?trigger_type=schedule&limit={_PAGE}{page}")
        found += len(answer["data"])
        if answer["next_page"] is None:
            return found
        page = f"&page={answer['next_page']}"
