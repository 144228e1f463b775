"""Totals as clients see them: tokens, list cost in whole cents, time."""

from efferent.common.domain.state import Running, SessionState
from efferent.common.domain.timestamp import Timestamp, seconds_between
from efferent.common.domain.usage import MICRO_USD_PER_CENT, CacheCreation, Money, Usage, with_running_time


def active_seconds(state: SessionState, now: Timestamp) -> float:
    """Seconds in which the session ran, the running turn included."""
    running = seconds_between(state.status.since, now) if isinstance(state.status, Running) else 0.0
    return state.totals.active_seconds + running


def list_cost_micro_usd(state: SessionState, now: Timestamp) -> int:
    """List cost of the model's tokens and of the running time."""
    return with_running_time(state.totals.list_cost_micro_usd, active_seconds(state, now))


def usage_of(state: SessionState, now: Timestamp) -> Usage:
    """The ``usage`` object."""
    written = state.totals.cache_creation_tokens
    cents = round(list_cost_micro_usd(state, now) / MICRO_USD_PER_CENT)
    return Usage(
        input_tokens=state.totals.input_tokens,
        output_tokens=state.totals.output_tokens,
        cache_read_input_tokens=state.totals.cache_read_tokens,
        cache_creation=CacheCreation(ephemeral_5m_input_tokens=written) if written else None,
        list_cost=Money(amount=str(cents)),
        active_seconds=round(active_seconds(state, now), 3),
    )
