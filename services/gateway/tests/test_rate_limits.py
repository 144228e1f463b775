"""Rate limits per key: at the number, one past it, after the wait, and with more keys than are counted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic import RateLimitError
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.testing.fake_clock import FakeClock
from efferent.gateway.access.rate_limits import RateLimits
from efferent.gateway.errors import RateLimited
from services.gateway.tests.gateway_rig import Served, ServerAddress, serve


def refused_after_s(limits: RateLimits, key: str, method: str = "GET") -> int:
    with pytest.raises(RateLimited) as refused:
        limits.take(key, method)
    return refused.value.retry_after_s


def test_a_key_may_ask_as_often_as_the_limit_says_and_not_once_more() -> None:
    limits = RateLimits(FakeClock(), creates_per_minute=3, reads_per_minute=5)
    for _ in range(5):
        limits.take("a", "GET")
    for method in ("POST", "DELETE", "PATCH"):
        limits.take("a", method)
    assert refused_after_s(limits, "a") == 12
    assert refused_after_s(limits, "a", "POST") == 20
    limits.take("b", "GET")


def test_after_the_wait_that_was_told_the_next_request_is_let_in() -> None:
    clock = FakeClock()
    limits = RateLimits(clock, creates_per_minute=None, reads_per_minute=7)
    for _ in range(7):
        limits.take("a", "GET")
    clock.advance(refused_after_s(limits, "a"))
    limits.take("a", "GET")
    refused_after_s(limits, "a")


def test_refused_requests_do_not_make_the_wait_longer() -> None:
    limits = RateLimits(FakeClock(), creates_per_minute=None, reads_per_minute=1)
    limits.take("a", "GET")
    assert {refused_after_s(limits, "a") for _ in range(10)} == {60}


def test_without_a_limit_nothing_is_counted() -> None:
    limits = RateLimits(FakeClock(), creates_per_minute=None, reads_per_minute=None)
    for _ in range(10_000):
        limits.take("a", "GET")
    assert limits.keys_counted == 0


def test_a_key_that_was_quiet_leaves_nothing_behind_and_many_keys_stay_within_the_limit() -> None:
    clock = FakeClock()
    limits = RateLimits(clock, creates_per_minute=None, reads_per_minute=10, keys_max=100)
    for index in range(1_000):
        limits.take(f"key {index}", "GET")
    assert limits.keys_counted == 100
    clock.advance(60)
    limits.take("another", "GET")
    assert limits.keys_counted == 1


@given(limit=st.integers(1, 50), pauses_s=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200))
def test_no_minute_takes_more_than_twice_the_limit(limit: int, pauses_s: list[float]) -> None:
    clock = FakeClock()
    limits = RateLimits(clock, creates_per_minute=limit, reads_per_minute=None)
    taken_at_s: list[float] = []
    for pause_s in pauses_s:
        clock.advance(pause_s)
        try:
            limits.take("a", "POST")
        except RateLimited:
            continue
        taken_at_s.append(clock.monotonic_s())
    for start_s in taken_at_s:
        assert sum(1 for moment_s in taken_at_s if start_s <= moment_s < start_s + 60) <= 2 * limit


@pytest.fixture
async def limited(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(nats_address, tmp_path / "data", creates_per_minute=2, reads_per_minute=3) as running:
        yield running


async def test_the_client_gets_a_rate_limit_error_with_the_seconds_to_wait(limited: Served) -> None:
    sdk = limited.sdk()
    for _ in range(3):
        await sdk.beta.agents.list()
    with pytest.raises(RateLimitError) as refused:
        await sdk.beta.agents.list()
    assert refused.value.response.headers["retry-after"] == "20"
    answer = await limited.call("GET", "/v1/agents")
    assert answer.error == (429, "rate_limit_error", "This API key may send 3 read requests per minute.")
    # What changes something is counted apart, whether it is carried out or refused.
    statuses = [(await limited.call("POST", "/v1/agents", {})).status for _ in range(3)]
    assert statuses == [400, 400, 429]
    _, key = await limited.new_workspace()
    assert (await limited.call("GET", "/v1/agents", headers={"x-api-key": key})).status == 200
    assert (await limited.call("GET", "/v1/agents", headers={"x-api-key": "wrong"})).status == 401
    assert (await limited.call("GET", "/healthz")).status == 200
