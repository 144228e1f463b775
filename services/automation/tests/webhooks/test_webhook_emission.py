"""From records of sessions to waiting deliveries: large records, budgets, gone sessions, work that is not there yet."""

from pathlib import Path

import pytest

from efferent.automation.reactor import Later
from efferent.automation.webhooks import work_readiness
from efferent.automation.webhooks.work_readiness import LoggedWork
from efferent.common.codec import RECORD_BYTES_MAX
from efferent.common.domain import timestamp, work
from efferent.common.domain.ids import EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.record import Record
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.jetstream.webhook_queue import WebhookQueue
from efferent.common.jetstream.work_log import JetStreamWorkLog
from efferent.common.ports import LogUnreadable, RawRecord
from efferent.common.runtime.settings import NatsSettings
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.specification import START_US, Story, message, say
from services.automation.tests.webhooks.rig import Webhooks, running, until_empty
from tests.support.webhook_receiver import receiving

SESSION = SessionId("sesn_1")
ENVIRONMENT = EnvironmentId("env_1")


async def append(webhooks: Webhooks, *records: Record) -> None:
    """Write records of the one session."""
    sequence = await webhooks.desk.sessions.last_sequence(SESSION)
    for record in records:
        sequence = await webhooks.desk.sessions.append(SESSION, "out", record, expected=sequence)


async def test_a_record_that_is_kept_as_a_blob_is_reported_as_well(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    story = Story().create()
    story.send(message("x" * (RECORD_BYTES_MAX + 1)))
    story.claim()
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=FakeClock(START_US - 1)) as webhooks:
        await webhooks.endpoint(receiver.url(), "session.status_run_started")
        await append(webhooks, *story.records)
        [received] = await receiver.until()
        assert received.event["data"]["workspace_id"] == "wrkspc_1"


async def test_a_budget_that_was_reached_before_is_not_reported_again(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    story = Story(budget_cents=1).create()
    story.send(message())
    story.claim()
    story.reply(say("hi"), cost_micro_usd=1_000_000)
    stopped = story.records[-1]
    again = stopped.model_copy(update={"id": "rec_again"})
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=FakeClock(START_US - 1)) as webhooks:
        made, _ = await webhooks.endpoint(receiver.url(), "session.budget_reached")
        await append(webhooks, *story.records, again)
        await receiver.until()
        await until_empty(connection, made.id)
        for raw in await records_of(webhooks):  # delivered again, as after a crash
            await webhooks.reactor._emission.handle_session(raw)
        assert await WebhookQueue(connection).waiting(made.id) == 0
        assert [received.type for received in receiver.received] == ["session.budget_reached"]


async def test_a_session_that_is_gone_is_passed_over(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    story = Story().create()
    story.send(message())
    story.claim()
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=FakeClock(START_US - 1)) as webhooks:
        made, _ = await webhooks.endpoint(receiver.url())
        await append(webhooks, *story.records)
        await receiver.until(count=3)
        await until_empty(connection, made.id)
        last = (await records_of(webhooks))[-1]
        await webhooks.desk.sessions.purge(SESSION)
        webhooks.reactor._emission._origins.clear()
        await webhooks.reactor._emission.handle_session(last)
        assert await WebhookQueue(connection).waiting(made.id) == 0
        assert len(receiver.received) == 3


async def test_a_record_that_cannot_be_read_is_kept_for_a_release_that_can(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with running(connection, nats, tmp_path) as webhooks:
        await webhooks.endpoint("https://hooks.example.com")
        raw = RawRecord(1, f"session.{SESSION}.out", b'{"v":99,"entries":[{"event":{"type":"session.unheard_of"}}]}', 0)
        with pytest.raises(LogUnreadable):
            await webhooks.reactor._emission.handle_session(raw)


async def test_too_many_waiting_deliveries_are_refused_for_that_endpoint_only(connection: Connection) -> None:
    queue = WebhookQueue(connection, waiting_max=3)
    await queue.declare()
    assert [await queue.put("whep_a", f"whe_{index}", b"{}") for index in range(4)] == [True, True, True, False]
    assert await queue.put("whep_b", "whe_1", b"{}")
    assert await queue.put("whep_a", "whe_0", b"{}"), "the same delivery again changes nothing"
    assert await queue.waiting("whep_a") == 3


async def test_what_comes_after_an_endpoint_was_looked_at_is_not_thrown_away_with_it(connection: Connection) -> None:
    queue = WebhookQueue(connection)
    await queue.declare()
    await queue.open("whep_a")
    await queue.put("whep_a", "whe_1", b"{}")
    await queue.put("whep_b", "whe_1", b"{}")
    looked_at = await queue.position()
    await queue.put("whep_a", "whe_2", b"{}")  # enabled again, and something happened
    await queue.remove("whep_a", reach=looked_at)
    assert await queue.opened() == set()
    assert (await queue.waiting("whep_a"), await queue.waiting("whep_b")) == (1, 1)
    await queue.open("whep_a")
    kept = await queue.take("whep_a", within_s=20)
    assert kept is not None
    assert kept.attempt == 1


async def test_a_delivery_that_nobody_answers_for_comes_again_as_the_next_attempt(connection: Connection) -> None:
    queue = WebhookQueue(connection, ack_wait_s=0.2)
    await queue.declare()
    await queue.open("whep_a")
    await queue.put("whep_a", "whe_1", b"{}")
    first = await queue.take("whep_a", within_s=20)
    second = await queue.take("whep_a", within_s=20)
    assert first is not None
    assert second is not None
    assert (first.attempt, second.attempt, first.body) == (1, 2, b"{}")
    await second.done()
    for _ in range(5):  # on a machine that stalls it was on its way again before it was done
        if (late := await queue.take("whep_a", within_s=0.5)) is None:
            break
        await late.done()
    else:
        pytest.fail("what is done comes again and again")


async def test_the_start_of_a_run_waits_for_its_work_item_but_not_for_ever(connection: Connection) -> None:
    await streams.declare(connection)
    clock = FakeClock()
    log = JetStreamWorkLog(connection)
    ready = LoggedWork(log, clock)
    since = timestamp.from_epoch_us(clock.now_us())
    with pytest.raises(Later):
        await ready.check(ENVIRONMENT, SESSION, since)
    item = work.enqueue(
        work.NewWork(
            id=WorkId("work_1"),
            environment_id=ENVIRONMENT,
            workspace_id=WorkspaceId("wrkspc_1"),
            session_id=SESSION,
            ttl_s=300,
            wanted_by=1,
        ),
        since,
    )
    stored = await log.add(item, expected=0)
    await ready.check(ENVIRONMENT, SESSION, since)
    clock.advance(1)
    over = work.stop(stored.item, timestamp.from_epoch_us(clock.now_us()), force=True)
    await log.change(over, expected=stored.sequence)
    await ready.check(ENVIRONMENT, SESSION, since)
    clock.advance(1)
    later = timestamp.from_epoch_us(clock.now_us())
    with pytest.raises(Later):
        await ready.check(ENVIRONMENT, SESSION, later)
    clock.advance(work_readiness.WAIT_MAX_S)
    await ready.check(ENVIRONMENT, SESSION, later)


async def records_of(webhooks: Webhooks) -> list[RawRecord]:
    """The session's records as they are delivered."""
    reader = StreamReader(webhooks.desk.connection, subjects.SESSIONS)
    pages = reader.pages(subjects.session_fence(SESSION), after=0, reach=None)
    return [raw async for page in pages for raw in page]
