"""Which slots fire, for whom and when; no clock but the one that is handed in."""

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from efferent.automation.deployments.timetable import LATE_S, Timetable
from efferent.common.domain import timestamp
from efferent.common.domain.content import TextBlock
from efferent.common.domain.control.aggregate import ControlRecord
from efferent.common.domain.ids import AgentId, DeploymentId, EnvironmentId, WorkspaceId
from efferent.common.domain.resources.deployment import (
    AgentReference,
    CronSchedule,
    Deployment,
    ManualPause,
    MessageEvent,
)

START: Final = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
SECOND: Final = timedelta(seconds=1)


def record(
    at: datetime,
    *,
    name: str = "depl_a",
    expression: str | None = "0 * * * *",
    paused: bool = False,
    archived: bool = False,
    agent: str = "agent_a",
    timezone: str = "UTC",
) -> ControlRecord[Deployment]:
    """A deployment as it was at this time."""
    moment = timestamp.from_datetime(at)
    deployment = Deployment(
        id=DeploymentId(name),
        name=name,
        agent=AgentReference(id=AgentId(agent), version=1),
        environment_id=EnvironmentId("env_a"),
        initial_events=(MessageEvent(content=(TextBlock(text="x"),)),),
        schedule=CronSchedule(expression=expression, timezone=timezone) if expression is not None else None,
        paused_reason=ManualPause() if paused else None,
        created_at=moment,
        updated_at=moment,
        archived_at=moment if archived else None,
    )
    return ControlRecord(type="deployment.updated", at=moment, workspace_id=WorkspaceId("wrkspc_a"), data=deployment)


def slots(timetable: Timetable, now: datetime) -> list[str]:
    return [f"{due.deployment_id} {due.slot:%H:%M}" for due in timetable.due(now, 1_000)]


def walk(timetable: Timetable, start: datetime, end: datetime, step: timedelta = 10 * SECOND) -> list[str]:
    found, now = [], start
    while now <= end:
        found += slots(timetable, now)
        now += step
    return found


def test_each_slot_is_due_once_after_its_jitter_and_inside_its_window() -> None:
    timetable = Timetable()
    timetable.apply(record(START))
    assert slots(timetable, START) == []
    start_at = timetable.next_at()
    assert start_at is not None
    slot = datetime(2026, 1, 1, 13, tzinfo=UTC)
    assert slot <= start_at < slot + timedelta(seconds=540)
    assert slots(timetable, start_at - SECOND) == []
    assert slots(timetable, start_at) == ["depl_a 13:00"]
    assert slots(timetable, start_at) == []
    assert walk(timetable, start_at, START + 3 * HOUR + 600 * SECOND) == ["depl_a 14:00", "depl_a 15:00"]


def test_two_replicas_plan_the_same_moments() -> None:
    first, second = Timetable(), Timetable()
    for name in ("depl_a", "depl_b", "depl_c"):
        first.apply(record(START, name=name))
        second.apply(record(START, name=name))
    assert walk(first, START, START + 2 * HOUR) == walk(second, START, START + 2 * HOUR)
    assert first.next_at() == second.next_at()


def test_deployments_with_the_same_schedule_are_spread_over_the_window() -> None:
    timetable = Timetable()
    for number in range(300):
        timetable.apply(record(START, name=f"depl_{number}"))
    timetable.due(START, 1)
    slot = datetime(2026, 1, 1, 13, tzinfo=UTC)
    counts = [len(timetable.due(slot + timedelta(seconds=54 * part), 1_000)) for part in range(11)]
    assert sum(counts) == 300
    assert max(counts) < 60


def test_a_slot_missed_for_less_than_its_window_fires_and_older_ones_do_not() -> None:
    for late_s, expected in ((0.0, ["depl_a 15:00"]), (540.0 + LATE_S, ["depl_a 15:00"]), (541.0 + LATE_S, [])):
        timetable = Timetable()
        timetable.apply(record(START))
        now = datetime(2026, 1, 1, 15, tzinfo=UTC) + timedelta(seconds=late_s)
        found = slots(timetable, now) if late_s else walk(timetable, now, now + 600 * SECOND)
        assert found == expected


def test_a_stalled_process_passes_over_what_is_too_old() -> None:
    timetable = Timetable()
    timetable.apply(record(START, expression="* * * * *"))
    slots(timetable, START)
    woken = START + 5 * HOUR
    found = slots(timetable, woken)
    assert found in ([], ["depl_a 17:00"])
    assert len(walk(timetable, woken, woken + 3 * 60 * SECOND, SECOND)) == 3


def test_unpausing_does_not_make_up_for_what_was_missed() -> None:
    timetable = Timetable()
    timetable.apply(record(START))
    timetable.apply(record(START + 1 * SECOND, paused=True))
    slot = datetime(2026, 1, 1, 13, tzinfo=UTC)
    assert walk(timetable, START, slot + 20 * SECOND) == []
    timetable.apply(record(slot + 30 * SECOND))
    assert walk(timetable, slot + 30 * SECOND, slot + 50 * 60 * SECOND) == []
    assert walk(timetable, slot + HOUR, slot + HOUR + 600 * SECOND) == ["depl_a 14:00"]


def test_a_new_schedule_begins_with_its_next_slot_and_another_change_keeps_the_old_one() -> None:
    timetable = Timetable()
    timetable.apply(record(START))
    slots(timetable, START)
    before = timetable.next_at()
    timetable.apply(record(START + SECOND, agent="agent_b"))
    slots(timetable, START + SECOND)
    assert timetable.next_at() == before
    timetable.apply(record(START + 2 * SECOND, expression="30 12 * * *"))
    found = walk(timetable, START + 2 * SECOND, START + 2 * HOUR)
    assert found == ["depl_a 12:30"]


def test_archived_and_manual_deployments_are_never_due() -> None:
    timetable = Timetable()
    timetable.apply(record(START, name="depl_a"))
    timetable.apply(record(START, name="depl_b", expression=None))
    timetable.apply(record(START + SECOND, name="depl_a", archived=True))
    assert walk(timetable, START, START + 2 * HOUR) == []
    assert timetable.of_agent("agent_a") == [("wrkspc_a", "depl_b")]


def test_a_schedule_of_a_zone_that_is_no_more_is_told_and_holds_up_nobody() -> None:
    timetable = Timetable()
    timetable.apply(record(START, name="depl_gone", timezone="Mars/Olympus"))
    timetable.apply(record(START, name="depl_b"))
    assert walk(timetable, START, START + 2 * HOUR + 540 * SECOND) == ["depl_b 13:00", "depl_b 14:00"]
    assert timetable.unkept == [("depl_gone", "'Mars/Olympus' is not a time zone of the IANA database")]
    timetable.apply(record(START + 2 * HOUR + 540 * SECOND, name="depl_gone"))
    assert "depl_gone 15:00" in walk(timetable, START + 3 * HOUR, START + 3 * HOUR + 540 * SECOND)


def test_no_more_are_given_at_once_than_asked_for() -> None:
    timetable = Timetable()
    for number in range(10):
        timetable.apply(record(START, name=f"depl_{number}"))
    timetable.due(START, 1)
    now = datetime(2026, 1, 1, 13, 9, tzinfo=UTC)
    assert [len(timetable.due(now, 4)) for _ in range(4)] == [4, 4, 2, 0]


STATES: Final = st.sampled_from(
    [("0 * * * *", False), ("*/7 * * * *", False), (None, False), ("0 * * * *", True), ("*/7 * * * *", True)]
)


@given(st.lists(st.tuples(st.integers(1, 4_000), STATES), max_size=8))
def test_no_slot_is_due_twice_or_while_it_should_rest(changes: list[tuple[int, tuple[str | None, bool]]]) -> None:
    timetable, now, seen = Timetable(), START, set[datetime]()
    state: tuple[str | None, bool] = ("0 * * * *", False)
    timetable.apply(record(now))
    for pause_s, following in changes:
        end = now + timedelta(seconds=pause_s)
        while now < end:
            for due in timetable.due(now, 100):
                assert due.slot not in seen
                assert state[0] is not None
                assert not state[1]
                assert due.slot <= now
                seen.add(due.slot)
            now += 60 * SECOND
        now = end
        state = following
        timetable.apply(record(now, expression=state[0], paused=state[1]))
