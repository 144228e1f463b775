"""When the automation queues work: what a gateway may have forgotten, and what no gateway sees."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from efferent.automation.reactor import Later
from efferent.automation.subscriptions import Subscriptions
from efferent.common.control.kinds import subject_of
from efferent.common.domain.commands import ArchiveSession, InterruptDraft, ToolResultDraft
from efferent.common.domain.content import TextBlock
from efferent.common.domain.control.environment import (
    ENVIRONMENT,
    CloudPatch,
    ConfigPatch,
    CreateEnvironment,
    SelfHostedPatch,
)
from efferent.common.domain.control.environment import decide as decide_environment
from efferent.common.domain.ids import EnvironmentId, WorkspaceId
from efferent.common.domain.resources.environment import CloudConfig
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.runtime.settings import NatsSettings
from efferent.common.testing.specification import Story, call, message, say
from services.automation.tests.work.work_stage import TTL_S, Stage, stage

WITHIN_S = 30.0
WORKSPACE = WorkspaceId("wrkspc_a")


@pytest.fixture
async def session(connection: Connection, tmp_path: Path) -> AsyncIterator[Stage]:
    """A new session without input."""
    async with stage(connection, tmp_path) as made:
        yield made


def work_for_the_worker(story: Story) -> None:
    """A turn that waits for a worker."""
    story.send(message())
    story.claim()
    story.reply(call())


async def test_a_session_whose_gateway_died_gets_its_work(session: Stage) -> None:
    await session.shown()
    (item,) = await session.items()
    assert (item.state, item.session_id, item.ttl_s) == ("queued", "sesn_1", TTL_S)


async def test_records_that_come_again_make_no_second_item(session: Stage) -> None:
    work_for_the_worker(session.story)
    await session.shown()
    await session.shown_again()
    assert len(await session.items()) == 1
    await session.stopped(await session.claimed())
    await session.shown_again()
    assert len(await session.items()) == 1


async def test_sessions_of_cloud_environments_are_let_alone(connection: Connection, tmp_path: Path) -> None:
    async with stage(connection, tmp_path, message(), environment=CloudConfig()) as session:
        await session.shown()
        session.story.send(message())
        await session.shown()
        assert await session.items() == []


async def test_a_call_that_comes_when_no_worker_is_there_any_more_makes_work(session: Stage) -> None:
    session.story.send(message())
    session.story.claim()
    await session.shown()
    await session.stopped(await session.claimed())
    assert len(await session.items()) == 1, "the session runs, but what its worker saw called for nothing"
    session.story.reply(call())
    await session.shown()
    stopped, queued = await session.items()
    assert (stopped.state, queued.state) == ("stopped", "queued")


async def test_input_that_came_while_the_worker_left_makes_work_when_it_has_left(session: Stage) -> None:
    await session.shown()
    held = await session.claimed()
    work_for_the_worker(session.story)
    await session.shown()
    assert len(await session.items()) == 1
    await session.stopped(held)
    stopped, queued = await session.items()
    assert (stopped.state, queued.state) == ("stopped", "queued")


async def test_a_worker_that_leaves_after_its_results_is_followed_while_the_turn_goes_on(session: Stage) -> None:
    work_for_the_worker(session.story)
    await session.shown()
    held = await session.claimed()
    (use,) = session.story.state.calls
    session.story.send(ToolResultDraft(use.id, (TextBlock(text="cancelled"),), True))
    await session.shown()
    await session.stopped(held)
    assert [item.state for item in await session.items()] == ["stopped", "queued"]


async def test_a_worker_that_fails_on_what_it_saw_is_not_called_again(session: Stage) -> None:
    work_for_the_worker(session.story)
    await session.shown()
    await session.stopped(await session.claimed())
    assert [item.state for item in await session.items()] == ["stopped"]
    session.story.send(InterruptDraft())
    await session.shown()
    assert [item.state for item in await session.items()] == ["stopped", "queued"]


async def test_what_an_operator_stopped_stays_stopped_until_something_new_happens(session: Stage) -> None:
    await session.shown()
    held = await session.claimed()
    work_for_the_worker(session.story)
    await session.shown()
    await session.stopped(held, seen=await session.sessions.last_sequence(session.story.state.session_id))
    assert [item.state for item in await session.items()] == ["stopped"]


async def test_a_finished_session_needs_nobody_when_its_worker_leaves(session: Stage) -> None:
    await session.shown()
    held = await session.claimed()
    session.story.send(message())
    session.story.claim()
    session.story.reply(say("done"))
    await session.shown()
    await session.stopped(held)
    assert [item.state for item in await session.items()] == ["stopped"]


async def test_the_work_of_an_archived_session_is_ended(session: Stage) -> None:
    await session.shown()
    session.story.when(ArchiveSession())
    await session.shown()
    assert [item.state for item in await session.items()] == ["stopped"]


async def test_a_stop_that_nobody_confirms_is_ended_when_the_lease_is_over(session: Stage) -> None:
    await session.shown()
    held = await session.claimed()
    session.clock.advance(10)
    with pytest.raises(Later) as later:
        await session.stopped(held, force=False)
    assert later.value.delay_s == pytest.approx(TTL_S - 10, abs=0.1)
    work_for_the_worker(session.story)
    await session.shown()
    session.clock.advance(later.value.delay_s)
    await session.show_item()
    await session.show_item()
    assert [item.state for item in await session.items()] == ["stopped", "queued"]


async def test_what_is_remembered_of_sessions_is_bounded(session: Stage) -> None:
    await session.shown()
    for number in range(5):
        session.reactor._environments[f"sesn_{number}"] = None  # type: ignore[index]
    session.reactor._environments.pop(session.story.state.session_id, None)
    await session.shown_again()
    assert len(session.reactor._environments) == 2


async def test_records_reach_the_reactor_from_the_first_self_hosted_environment_on(
    session: Stage, connection: Connection, nats: NatsSettings
) -> None:
    log = JetStreamControlLog(connection)

    async def made(environment_id: str, config: ConfigPatch) -> None:
        command = CreateEnvironment(EnvironmentId(environment_id), name=f"self_hosted {environment_id}", config=config)
        change = decide_environment(None, command, session.now)
        assert change is not None
        record = ENVIRONMENT.encode(change, at=session.now, workspace_id=WORKSPACE, actor=None)
        await log.append(subject_of(ENVIRONMENT, WORKSPACE, environment_id), record, expected=0)

    running = Subscriptions(connection, nats, session.reactor.subscriptions())
    await made("env_1", CloudPatch())
    await running.declare()
    await running.start()
    try:
        await made("env_2", CloudPatch())
        assert not (await api.call(connection, "CONSUMER.NAMES.SESSIONS", {}))["consumers"]
        await made("env_3", SelfHostedPatch())
        await session.written()
        async with asyncio.timeout(WITHIN_S):
            async for batch in JetStreamFeed(connection, subjects.WORK).follow(after=0):
                assert batch
                break
        (item,) = await session.items()
        assert item.state == "queued"
    finally:
        await running.drain()
