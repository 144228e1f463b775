"""When a dead child is started again."""

from efferent.cli.restart_policy import WINDOW_S, RestartPolicy


def test_the_first_deaths_within_a_minute_are_answered_at_once() -> None:
    policy = RestartPolicy(burst=3)
    assert [policy.died(now_s) for now_s in (0.0, 1.0, 2.0)] == [0.1, 0.1, 0.1]


def test_a_child_that_keeps_dying_is_started_later_and_later_but_within_half_a_minute() -> None:
    policy = RestartPolicy(burst=3)
    delays = [policy.died(0.001 * death) for death in range(12)]
    assert delays[3:] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


def test_what_happened_over_a_minute_ago_is_forgotten() -> None:
    policy = RestartPolicy(burst=1)
    assert policy.died(0.0) == 0.1
    assert policy.died(1.0) == 1.0
    assert policy.died(1.0 + WINDOW_S + 0.1) == 0.1


def test_deaths_beyond_what_is_remembered_keep_the_longest_delay() -> None:
    policy = RestartPolicy(burst=1)
    assert [policy.died(0.0) for _ in range(200)][-1] == 30.0
