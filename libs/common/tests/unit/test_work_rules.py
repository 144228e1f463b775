"""The rules of a work item: who may take it, who holds its lease, and when it ends."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain import work
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.refusals import Conflict
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.timestamp import Timestamp, later

T0: Final = Timestamp("2026-01-01T00:00:00.000000Z")
TTL_S: Final = 60
KEY: Final = ApiKeyId("apikey_a")


def fresh() -> WorkItem:
    new = work.NewWork(
        WorkId("work_a"), EnvironmentId("env_a"), WorkspaceId("wrkspc_a"), SessionId("sesn_a"), TTL_S, wanted_by=1
    )
    return work.enqueue(new, T0)


def polled(at: Timestamp = T0, by: str = "a", item: WorkItem | None = None) -> WorkItem:
    return work.claim(item or fresh(), at, key_id=KEY, token_hash=by, seen=5)


def active(at: Timestamp = T0) -> WorkItem:
    started = work.acknowledge(polled(at), at)
    return work.heartbeat(started, at, expected=work.NO_HEARTBEAT, ttl_s=None).item


def test_a_polled_item_is_offered_again_when_nobody_acknowledges_it() -> None:
    item = polled()
    assert item.state == "queued"
    assert not work.is_claimable(item, later(T0, 4.9), 5_000)
    assert work.is_claimable(item, later(T0, 5), 5_000)
    assert not work.is_claimable(item, later(T0, 5), 10_000)


def test_an_acknowledged_item_leaves_the_queue_and_has_a_whole_lease_before_its_first_heartbeat() -> None:
    item = work.acknowledge(polled(), later(T0, 1))
    assert (item.state, item.acknowledged_at, item.latest_heartbeat_at) == ("starting", later(T0, 1), None)
    assert not work.is_claimable(item, later(T0, TTL_S), 0)
    assert work.is_claimable(item, later(T0, 1 + TTL_S), 0)


def test_acknowledging_twice_changes_nothing() -> None:
    item = work.acknowledge(polled(), later(T0, 1))
    assert work.acknowledge(item, later(T0, 2)) == item


def test_the_first_heartbeat_makes_an_item_active_also_without_an_acknowledgement() -> None:
    beat = work.heartbeat(polled(), later(T0, 1), expected=work.NO_HEARTBEAT, ttl_s=None)
    assert (beat.item.state, beat.item.started_at, beat.item.acknowledged_at) == ("active", later(T0, 1), None)
    assert beat.told.lease_extended
    assert beat.told.last_heartbeat == later(T0, 1)
    assert beat.told.ttl_seconds == TTL_S
    assert not work.is_claimable(beat.item, later(T0, 10), 5_000)


def test_each_heartbeat_names_the_one_before_it() -> None:
    first = active()
    assert first.latest_heartbeat_at is not None
    second = work.heartbeat(first, later(T0, 30), expected=first.latest_heartbeat_at, ttl_s=None).item
    assert second.lease_until == later(T0, 30 + TTL_S)
    for stale in (first.latest_heartbeat_at, work.NO_HEARTBEAT, "nonsense"):
        with pytest.raises(work.LeaseLost) as lost:
            work.heartbeat(second, later(T0, 31), expected=stale, ttl_s=None)
        assert lost.value.item == second


def test_heartbeats_in_the_same_microsecond_have_different_names() -> None:
    first = active()
    second = work.heartbeat(first, T0, expected=first.latest_heartbeat_at, ttl_s=None).item
    assert second.latest_heartbeat_at != first.latest_heartbeat_at


@pytest.mark.parametrize(("desired_s", "given_s"), [(1, work.TTL_S_MIN), (4, 4), (10**6, work.TTL_S_MAX)])
def test_a_worker_may_choose_its_time_to_live_within_limits(desired_s: int, given_s: int) -> None:
    beat = work.heartbeat(polled(), T0, expected=work.NO_HEARTBEAT, ttl_s=desired_s)
    assert beat.told.ttl_seconds == given_s
    assert beat.item.lease_until == later(T0, given_s)


def test_the_time_to_live_that_a_worker_asked_for_ends_with_its_lease() -> None:
    short = work.heartbeat(polled(), T0, expected=work.NO_HEARTBEAT, ttl_s=4).item
    again = work.acknowledge(polled(later(T0, 4), "b", short), later(T0, 5))
    assert (again.ttl_s, again.lease_until) == (TTL_S, later(T0, 5 + TTL_S))


def test_a_lease_that_runs_out_puts_the_item_back_and_the_first_heartbeat_is_first_again() -> None:
    item, end = active(), later(T0, TTL_S)
    assert work.at(item, later(T0, TTL_S - 1)) == item
    back = work.at(item, end)
    assert (back.state, back.queued_at, back.claim, back.latest_heartbeat_at) == ("queued", end, None, None)
    assert back.created_at == T0
    with pytest.raises(work.LeaseLost):
        work.heartbeat(item, end, expected=item.latest_heartbeat_at, ttl_s=None)
    again = polled(end, "b", item)
    assert work.heartbeat(again, end, expected=work.NO_HEARTBEAT, ttl_s=None).item.state == "active"


def test_a_former_token_can_neither_beat_nor_stop() -> None:
    taken_over = polled(later(T0, 10), "b", polled())
    assert work.knows_token(taken_over, "a")
    assert not work.is_token_live(taken_over, later(T0, 10), "a")
    with pytest.raises(work.LeaseLost):
        work.heartbeat(taken_over, later(T0, 10), expected=work.NO_HEARTBEAT, ttl_s=None, token_hash="a")
    with pytest.raises(Conflict, match="belongs to another worker"):
        work.stop(taken_over, later(T0, 10), force=True, token_hash="a")
    assert work.stop(taken_over, later(T0, 10), force=True, token_hash="b").state == "stopped"


def test_a_token_lives_as_long_as_its_lease() -> None:
    item = polled()
    assert work.is_token_live(item, later(T0, TTL_S - 1), "a")
    assert not work.is_token_live(item, later(T0, TTL_S), "a"), "a claim that nobody followed up"
    assert not work.is_token_live(item, T0, "b")
    served = active()
    assert work.is_token_live(served, later(T0, TTL_S - 1), "a")
    assert not work.is_token_live(served, later(T0, TTL_S), "a")
    assert not work.is_token_live(work.stop(served, T0, force=True), T0, "a")


def test_only_so_many_former_tokens_are_remembered() -> None:
    item = polled()
    for number in range(work.SUPERSEDED_MAX + 3):
        item = polled(later(T0, 10 * number), str(number), item)
    assert len(item.superseded) == work.SUPERSEDED_MAX
    assert not work.knows_token(item, "a")


def test_a_stop_waits_for_the_worker_that_beats() -> None:
    item = active()
    stopping = work.stop(item, later(T0, 1), force=False, seen=9)
    assert (stopping.state, stopping.stop_requested_at, stopping.seen) == ("stopping", later(T0, 1), 9)
    assert work.stop(stopping, later(T0, 2), force=False) == stopping
    for expected in (item.latest_heartbeat_at, "whatever"):
        beat = work.heartbeat(stopping, later(T0, 2), expected=expected, ttl_s=None)
        assert (beat.told.state, beat.told.lease_extended, beat.item) == ("stopping", False, stopping)
    stopped = work.stop(stopping, later(T0, 3), force=True)
    assert (stopped.state, stopped.stopped_at, stopped.stop_requested_at) == ("stopped", later(T0, 3), later(T0, 1))


def test_a_stop_ends_at_once_what_nobody_beats_for() -> None:
    for item in (fresh(), polled(), work.acknowledge(polled(), T0)):
        assert work.stop(item, T0, force=False).state == "stopped"


def test_a_stopping_item_ends_with_its_lease() -> None:
    stopping = work.stop(active(), later(T0, 1), force=False)
    ended = work.at(stopping, later(T0, TTL_S))
    assert (ended.state, ended.stopped_at) == ("stopped", later(T0, TTL_S))


def test_what_is_stopped_stays_so() -> None:
    stopped = work.stop(active(), T0, force=True)
    with pytest.raises(Conflict, match="already stopped"):
        work.stop(stopped, later(T0, 1), force=True)
    with pytest.raises(Conflict, match="is stopped"):
        work.acknowledge(stopped, later(T0, 1))
    beat = work.heartbeat(stopped, later(T0, 1), expected="whatever", ttl_s=None)
    assert (beat.told.state, beat.told.lease_extended) == ("stopped", False)
    assert not work.is_claimable(stopped, later(T0, 10**6), 0)


class Worker:
    """What one worker believes: the token that it was given, and the last heartbeat that it was told."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.last = work.NO_HEARTBEAT
        self.held_until: Timestamp | None = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["poll", "ack", "beat", "beat", "stop", "force"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.000_001, 1.0, 6.0, 59.0, 61.0]),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_two_workers_ever_hold_the_same_lease(steps: list[tuple[str, int, float]]) -> None:
    """Random workers poll, beat and stop; by their own clocks, never two of them are in the middle of their leases."""
    item, now, tokens = fresh(), T0, 0
    workers: dict[int, Worker] = {}
    for action, who, pause_s in steps:
        now = later(now, pause_s)
        worker = workers.get(who)
        if action == "poll":
            if work.is_claimable(item, now, 5_000):
                tokens += 1
                item = work.claim(item, now, key_id=KEY, token_hash=str(tokens), seen=0)
                workers[who] = Worker(str(tokens))
        elif worker is not None:
            item = _act(item, now, worker, action)
        holding = [one for one in workers.values() if one.held_until is not None and now < one.held_until]
        assert len(holding) <= 1
        assert (item.state == "stopped") == (item.stopped_at is not None)
        assert item.lease_until is None or item.state in ("starting", "active", "stopping")


def _act(item: WorkItem, now: Timestamp, worker: Worker, action: str) -> WorkItem:
    try:
        match action:
            case "ack":
                return work.acknowledge(item, now)
            case "beat":
                beat = work.heartbeat(item, now, expected=worker.last, ttl_s=None, token_hash=worker.token)
                worker.last = beat.told.last_heartbeat or work.NO_HEARTBEAT
                worker.held_until = beat.item.lease_until if beat.told.lease_extended else None
                return beat.item
            case _:
                stopped = work.stop(item, now, force=action == "force", token_hash=worker.token)
                worker.held_until = None if stopped.state == "stopped" else worker.held_until
                return stopped
    except (work.LeaseLost, Conflict):
        worker.held_until = None
        return work.at(item, now)
