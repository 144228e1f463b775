"""Schedules: every slot leads to one run and one session, whoever dies on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from efferent.automation.deployments.timetable import Due
from efferent.automation.reactor import Later
from efferent.common.domain.commands import CreateSession
from efferent.common.domain.control.deployment import PauseDeployment, UnpauseDeployment
from efferent.common.domain.control.deployment_run import StartRun, run_of_slot, session_of_run
from efferent.common.domain.ids import DeploymentRunId, SessionId
from efferent.common.domain.record import Record, Side
from efferent.common.domain.resources.deployment import FileConfig
from efferent.common.domain.resources.deployment_run import DeploymentRun, ManualTrigger, ScheduleTrigger
from efferent.common.domain.resources.session_resource import FileResource
from efferent.common.domain.timestamp import Timestamp, to_datetime
from efferent.common.files.store import FileStore
from efferent.common.jetstream import subjects
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import LogUnavailable, RawRecord
from efferent.common.testing.specification import toolset
from services.automation.tests.deployments.deployment_rig import HELLO, Stage
from services.automation.tests.log_stage import WORKSPACE

HOUR_S = 3_600.0
WINDOW_S = 540.0
FIRST_SLOT = Timestamp("2026-01-01T01:00:00.000000Z")


def one(runs: list[DeploymentRun]) -> bool:
    return len(runs) == 1


async def test_a_due_slot_becomes_a_session_of_the_deployment(stage: Stage) -> None:
    deployment = await stage.make(metadata={"a": "b"})
    async with stage.replica():
        stage.advance(HOUR_S + WINDOW_S)
        (run,) = await stage.until(one)
    assert run.trigger_context == ScheduleTrigger(scheduled_at=FIRST_SLOT)
    assert (run.deployment_id, run.agent, run.error) == (deployment.id, deployment.agent, None)
    assert run.id == run_of_slot(deployment.id, to_datetime(FIRST_SLOT))
    assert run.session_id is not None
    session = await stage.session(run.session_id)
    assert session is not None
    assert (session.deployment_id, session.workspace_id) == (deployment.id, WORKSPACE)
    assert (session.agent.id, session.environment_id) == (deployment.agent.id, deployment.environment_id)
    assert [getattr(queued, "content", None) for queued in session.queue] == [HELLO.content]


async def test_a_defect_in_one_look_at_the_schedules_does_not_end_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.make()
    async with stage.replica() as replica:
        with monkeypatch.context() as patched:
            looked = asyncio.Event()

            def defect(*_: object) -> Sequence[Due]:
                looked.set()
                raise RuntimeError("a defect")

            patched.setattr(replica.deployments.scheduler.timetable, "due", defect)
            stage.advance(HOUR_S + 540)
            await looked.wait()
        stage.advance(0)
        (run,) = await stage.until(lambda runs: len(runs) == 1)
    assert run.error is None
    assert "schedules could not be looked at" in caplog.text


async def test_nothing_fires_before_its_slot(stage: Stage) -> None:
    await stage.make()
    async with stage.replica() as replica:
        stage.advance(HOUR_S - 1)
        assert await replica.deployments.scheduler.start_due() == 0
        assert await stage.runs() == []


async def test_three_replicas_make_one_session_per_slot(stage: Stage) -> None:
    agent, environment_id = await stage.agent(), await stage.environment()
    made = [await stage.make(agent=agent, environment_id=environment_id) for _ in range(20)]
    async with stage.replica(), stage.replica(), stage.replica():
        stage.advance(HOUR_S + WINDOW_S)
        await stage.until(lambda runs: len(runs) == 20)
        stage.advance(HOUR_S)
        runs = await stage.until(lambda runs: len(runs) == 40)
    assert {run.deployment_id for run in runs} == {deployment.id for deployment in made}
    assert len({run.session_id for run in runs}) == 40
    assert await stage.session_count() == 40


async def test_a_paused_deployment_rests_and_does_not_make_up_for_it(stage: Stage) -> None:
    deployment = await stage.make()
    async with stage.replica() as replica:
        await stage.change(deployment.id, PauseDeployment())
        await replica.deployments.scheduler.catch_up()
        stage.advance(HOUR_S + WINDOW_S)
        assert await replica.deployments.scheduler.start_due() == 0
        await stage.change(deployment.id, UnpauseDeployment())
        await replica.deployments.scheduler.catch_up()
        assert await replica.deployments.scheduler.start_due() == 0
        stage.advance(HOUR_S)
        (run,) = await stage.until(one)
    assert run.trigger_context == ScheduleTrigger(scheduled_at=Timestamp("2026-01-01T02:00:00.000000Z"))


async def test_a_run_that_was_begun_before_its_deployment_was_paused_is_dropped(stage: Stage) -> None:
    deployment = await stage.make()
    replica = stage.build()
    stage.advance(HOUR_S + WINDOW_S)
    await replica.deployments.scheduler.catch_up()
    assert await replica.deployments.scheduler.start_due() == 1
    await stage.change(deployment.id, PauseDeployment())
    async with stage.replica():
        other = await stage.make()
        stage.advance(HOUR_S)
        (run,) = await stage.until(one)
    assert run.deployment_id == other.id
    assert [run.deployment_id for run in await stage.runs()] == [other.id]
    assert await stage.session_count() == 1


async def test_after_a_short_outage_the_missed_slot_fires_and_after_a_long_one_it_does_not(stage: Stage) -> None:
    await stage.make()
    stage.advance(HOUR_S + 500)
    async with stage.replica() as replica:
        stage.advance(40)
        await stage.until(one)
        await replica.end()
    stage.advance(3 * HOUR_S)  # 04:09: the slots of 02:00 and 03:00 are gone, that of 04:00 is not
    async with stage.replica():
        stage.advance(10)
        runs = await stage.until(lambda runs: len(runs) == 2)
    slots = [run.trigger_context.scheduled_at for run in runs if isinstance(run.trigger_context, ScheduleTrigger)]
    assert slots == [FIRST_SLOT, Timestamp("2026-01-01T04:00:00.000000Z")]


class FailingSessions(JetStreamSessionLog):
    """A session log that does its work and then, once, does not say so: as if the process had died there."""

    def __init__(self, stage: Stage, *, writes: bool) -> None:
        super().__init__(stage.connection, stage.blobs)
        self.troubles = 1
        self._writes = writes

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        if self.troubles:
            self.troubles -= 1
            if self._writes:
                await super().append(session_id, side, record, expected=expected)
            raise LogUnavailable("the process died here")
        return await super().append(session_id, side, record, expected=expected)


class FailingControl(JetStreamControlLog):
    """A control log that fails once when a run is to be finished."""

    def __init__(self, stage: Stage, *, writes: bool) -> None:
        super().__init__(stage.connection)
        self.troubles = 1
        self._writes = writes

    async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
        if self.troubles and b"deployment_run.succeeded" in payload:
            self.troubles -= 1
            if self._writes:
                await super().append(subject, payload, expected=expected, fence=fence)
            raise LogUnavailable("the process died here")
        return await super().append(subject, payload, expected=expected, fence=fence)


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("log", ["sessions", "control"])
async def test_a_fire_that_broke_off_anywhere_is_finished_once(stage: Stage, log: str, writes: bool) -> None:
    await stage.make()
    broken = FailingSessions(stage, writes=writes) if log == "sessions" else FailingControl(stage, writes=writes)
    logs: dict[str, Any] = {log: broken}
    async with stage.replica(**logs):
        stage.advance(HOUR_S + WINDOW_S)
        (run,) = await stage.until(one)
        if log == "control" and writes:
            other = await stage.make()  # what comes after shows that the record was delivered again and left alone
            stage.advance(HOUR_S)
            runs = await stage.until(lambda runs: any(run.deployment_id == other.id for run in runs))
            assert run in runs
    assert broken.troubles == 0
    assert run.session_id == session_of_run(run.id)
    session = await stage.session_of(run)
    assert session is not None
    assert len(session.queue) == 1


class DeletingSessions(JetStreamSessionLog):
    """A session log in which a session is made by somebody else, and deleted, just before it would be made here."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.connection, stage.blobs)
        self._control = stage.control

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        await self._control.append(subjects.tombstone(session_id), b"{}", expected=0)
        return await super().append(session_id, side, record, expected=expected)


async def test_a_session_that_was_deleted_before_its_run_could_say_so_is_not_made_again(stage: Stage) -> None:
    deployment = await stage.make(schedule=None)
    replica = stage.build(sessions=DeletingSessions(stage))
    for run_id, is_deleted in ((DeploymentRunId("drun_before"), True), (DeploymentRunId("drun_meanwhile"), False)):
        command = StartRun(run_id, deployment.id, deployment.agent, ManualTrigger())
        await replica.deployments._firing.start(stage.actor, command)
        if is_deleted:
            await stage.control.append(subjects.tombstone(session_of_run(run_id)), b"{}", expected=0)
        run = await replica.deployments._firing.perform(stage.actor.workspace_id, run_id)
        assert run is not None
        assert run.session_id == session_of_run(run_id)
    assert await stage.session_count() == 0


async def test_who_performs_a_run_too_late_takes_nothing_from_the_session_that_another_one_made(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin while nothing is wrong; one is held up until the run is over and its deployment's file is gone."""
    files = FileStore(stage.aggregates, stage.blobs, stage.clock, stage.ids)
    source = await files.upload(stage.actor, await files.receive(chunks(b"data")), filename="a.txt", mime_type=None)
    agent = await stage.agent(tools=(toolset(),))
    deployment = await stage.make(agent=agent, schedule=None, resources=(FileConfig(file_id=source.id),))
    run_id = DeploymentRunId("drun_manual")
    late, quick = (stage.build().deployments._firing for _ in range(2))
    await quick.start(stage.actor, StartRun(run_id, deployment.id, deployment.agent, ManualTrigger()))
    plan = late._planner.plan

    async def held_up(*wanted: Any) -> CreateSession:
        await quick.perform(stage.actor.workspace_id, run_id)
        await files.delete(stage.actor, source.id)
        return await plan(*wanted)

    monkeypatch.setattr(late._planner, "plan", held_up)
    run = await late.perform(stage.actor.workspace_id, run_id)
    assert run is not None
    assert (run.session_id, run.error) == (session_of_run(run_id), None)
    session = await stage.session(session_of_run(run_id))
    assert session is not None
    (held,) = session.resources
    assert isinstance(held.resource, FileResource)
    copy = await files.get(stage.actor.workspace_id, held.resource.file_id)
    assert b"".join([chunk async for chunk in files.content(copy)]) == b"data"


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_what_a_dead_replica_left_is_finished_by_another_one(stage: Stage) -> None:
    """The runs are begun, and whoever began them never performed one."""
    agent, environment_id = await stage.agent(), await stage.environment()
    for _ in range(10):
        await stage.make(agent=agent, environment_id=environment_id)
    dead = stage.build()
    await dead.subscriptions.declare()
    await dead.deployments.scheduler.catch_up()
    stage.advance(HOUR_S + WINDOW_S)
    assert await dead.deployments.scheduler.start_due() == 10
    assert not any(run.is_finished for run in await stage.runs())
    stage.advance(10.5 * HOUR_S)
    async with stage.replica() as replica:
        runs = await stage.until(lambda runs: len(runs) >= 10)
        assert await replica.deployments.scheduler.start_due() == 0
    assert len({run.session_id for run in runs}) == 10


async def test_a_manual_run_is_left_to_its_gateway_for_a_while(stage: Stage) -> None:
    deployment = await stage.make(schedule=None)
    replica = stage.build()
    run_id = DeploymentRunId("drun_manual")
    command = StartRun(run_id, deployment.id, deployment.agent, ManualTrigger())
    await replica.deployments._firing.start(stage.actor, command)
    raw = await stage.control.last(subjects.control("deployment_run", run_id))
    assert isinstance(raw, RawRecord)
    with pytest.raises(Later) as later:
        await replica.deployments.perform(raw)
    assert later.value.delay_s == pytest.approx(10)
    stage.advance(10)
    await replica.deployments.perform(raw)
    (run,) = await stage.runs()
    assert run.session_id == session_of_run(run_id)
