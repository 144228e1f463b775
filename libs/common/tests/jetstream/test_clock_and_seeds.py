"""Time and randomness, real and for tests."""

import time

from efferent.common.domain import ids
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.seeds import CountedSeeds


def test_system_clock_tells_microseconds_since_1970() -> None:
    clock = SystemClock()
    assert abs(clock.now_us() / 1_000_000 - time.time()) < 5
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_random_seeds_make_well_formed_ids_that_differ() -> None:
    seeds = {RandomSeeds().seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(len(seed) == ids.SEED_LENGTH for seed in seeds)
    assert all(ids.is_well_formed("sesn_", ids.from_seed("sesn_", seed)) for seed in seeds)


def test_counted_seeds_repeat_from_run_to_run_and_differ_within_one() -> None:
    one, again, other = CountedSeeds("a"), CountedSeeds("a"), CountedSeeds("b")
    first = [one.seed() for _ in range(10)]
    assert first == [again.seed() for _ in range(10)]
    assert len({*first, *(other.seed() for _ in range(10))}) == 20
    assert all(ids.is_well_formed("rec_", ids.from_seed("rec_", seed)) for seed in first)


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    now_us, monotonic_s = clock.now_us(), clock.monotonic_s()
    assert (clock.now_us(), clock.monotonic_s()) == (now_us, monotonic_s)
    clock.advance(1.5)
    assert (clock.now_us(), clock.monotonic_s()) == (now_us + 1_500_000, monotonic_s + 1.5)
