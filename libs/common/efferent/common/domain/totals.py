"""Totals as clients see them: tokens, list cost in whole cents, time."""

from typing import Final

from efferent.common.domain.state import Running, SessionState
from efferent.common.domain.timestamp import Timestamp, seconds_between
from efferent.common.domain.usage import CacheCreation, Money, Usage

RUNNING_HOUR_MICRO_USD: Final = 80_000
"""List price of one hour in which a session runs."""
_MICRO_USD_PER_CENT: Final = 10_000


def active_seconds(state: SessionState, now: Timestamp) -> float:
    """Seconds in which the session ran, the running turn included."""
    running = seconds_between(state.status.since, now) if isinstance(state.status, Running) else 0.0
    return state.totals.active_seconds + running


def list_cost_micro_usd(state: SessionState, now: Timestamp) -> int:
    """List cost of the model's tokens and of the running time."""
    return state.totals.list_cost_micro_usd + round(active_seconds(state, now) / 3600 * RUNNING_HOUR_MICRO_USD)


def usage_of(state: SessionState, now: Timestamp) -> Usage:
    """The ``usage`` object."""
    written = state.totals.cache_creation_tokens
    cents = round(list_cost_micro_usd(state, now) / _MICRO_USD_PER_CENT)
    return Usage(
        input_tokens=state.totals.input_tokens,
        output_tokens=state.totals.output_tokens,
        cache_read_input_tokens=state.totals.cache_read_tokens,
        cache_creation=CacheCreation(ephemeral_5m_input_tokens=written) if written else None,
        list_cost=Money(amount=str(cents)),
        active_seconds=round(active_seconds(state, now), 3),
    )
