"""Work items in the log: one live item per session whoever writes, and stopped ones that leave by themselves."""

import asyncio

import pytest

from efferent.common.domain import work
from efferent.common.domain.events import AgentToolUse
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId, WorkId
from efferent.common.domain.resources.environment import SelfHostedConfig
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.timestamp import Timestamp, from_epoch_us
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.work_log import JetStreamWorkLog, decode
from efferent.common.ports import IdSource, LogConflict, LogUnreadable, RawRecord
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.specification import Story, call, message, toolset
from efferent.common.work.enqueuing import WorkEnqueuer

ENVIRONMENT = EnvironmentId("env_1")
SESSION = SessionId("sesn_1")
CLOCK = FakeClock()
NOW: Timestamp = from_epoch_us(CLOCK.now_us())


def story() -> Story:
    """A self-hosted session that waits for its worker."""
    made = Story(tools=[toolset()], environment=SelfHostedConfig()).create(message())
    made.claim()
    made.reply(call())
    return made


async def added(log: JetStreamWorkLog, source: IdSource, *, sequence: int = 1) -> WorkItem:
    """A fresh item of the session."""
    enqueuer = WorkEnqueuer(log, CLOCK, source)
    (stored,) = await enqueuer.demanded(story().state, "always", sequence)
    return stored.item


async def test_an_item_is_found_by_its_id_and_by_its_session(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    item = await added(log, source)
    by_id = await log.find(ENVIRONMENT, item.id)
    assert by_id is not None
    assert by_id.item == item
    assert await log.of_session(ENVIRONMENT, SESSION) == [by_id]
    assert await log.find(EnvironmentId("env_2"), item.id) is None
    assert await log.find(ENVIRONMENT, WorkId("work_none")) is None


async def test_writers_that_saw_nothing_add_one_item_together(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    state = story().state
    made = await asyncio.gather(*(WorkEnqueuer(log, CLOCK, source).demanded(state, "always", 1) for _ in range(12)))
    assert sum(len(stored) for stored in made) == 1
    assert len(await log.of_session(ENVIRONMENT, SESSION)) == 1


async def test_a_change_that_was_decided_on_an_older_state_is_refused(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    stored = await log.find(ENVIRONMENT, (await added(log, source)).id)
    assert stored is not None
    mine = work.claim(stored.item, NOW, key_id=ApiKeyId("apikey_a"), token_hash="a", seen=1)
    theirs = work.claim(stored.item, NOW, key_id=ApiKeyId("apikey_b"), token_hash="b", seen=1)
    await log.change(mine, expected=stored.sequence)
    with pytest.raises(LogConflict):
        await log.change(theirs, expected=stored.sequence)


async def test_of_two_writers_with_the_same_change_one_is_refused(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    stored = await log.find(ENVIRONMENT, (await added(log, source)).id)
    assert stored is not None
    beat = work.heartbeat(stored.item, NOW, expected=None, ttl_s=None)
    writes = (log.change(beat.item, expected=stored.sequence) for _ in range(4))
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(outcome, LogConflict) for outcome in outcomes) == 3


async def test_the_stream_keeps_the_newest_state_of_an_item_only(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    stored = await log.find(ENVIRONMENT, (await added(log, source)).id)
    assert stored is not None
    for _ in range(50):
        beat = work.heartbeat(stored.item, NOW, expected=None, ttl_s=None)
        stored = await log.change(beat.item, expected=stored.sequence)
    info = await api.call(connection, f"STREAM.INFO.{subjects.WORK}", {})
    assert info["state"]["messages"] == 1


async def test_a_stopped_item_leaves_by_itself(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection, stopped_kept_s=1)
    stored = await log.find(ENVIRONMENT, (await added(log, source)).id)
    assert stored is not None
    await log.change(work.stop(stored.item, NOW, force=True), expected=stored.sequence)
    async with asyncio.timeout(30):
        while await log.of_session(ENVIRONMENT, SESSION):  # noqa: ASYNC110 (nothing tells of a TTL)
            await asyncio.sleep(0.1)
    again = await added(log, source, sequence=2)
    assert again.id != stored.item.id


async def test_a_call_that_is_denied_calls_for_nobody(connection: Connection, source: IdSource) -> None:
    log = JetStreamWorkLog(connection)
    made = story()
    uses = [event for event in made.events if isinstance(event, AgentToolUse)]
    assert [use.evaluated_permission for use in uses] == ["allow"]
    enqueuer = WorkEnqueuer(log, CLOCK, source)
    assert await enqueuer.demanded(made.state, "none", 1) == ()
    assert await log.of_session(ENVIRONMENT, SESSION) == []


def test_an_item_of_an_unknown_version_is_unreadable() -> None:
    with pytest.raises(LogUnreadable, match="not a work item of a version that is known"):
        decode(RawRecord(1, "work.env_1.sesn_1.work_1", b'{"v":2}', previous=0))
