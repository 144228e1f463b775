"""Tokens, cost and time: what a model request used and what a session has used so far."""

from typing import Final, Literal

from efferent.common.domain.content import Shape

MICRO_USD_PER_CENT: Final = 10_000
RUNNING_HOUR_MICRO_USD: Final = 80_000
"""List price of one hour in which a session runs."""


class ModelUsage(Shape):
    """Tokens of one model request; the ``model_usage`` of ``span.model_request_end``."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    speed: Literal["standard", "fast"] | None = None


class Money(Shape):
    """An amount in whole cents, written as text."""

    amount: str
    currency: Literal["USD"] = "USD"


class CacheCreation(Shape):
    """Tokens written to the prompt cache, by time to live."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class ServerToolUse(Shape):
    """Requests that the server's web tools made."""

    web_search_requests: int = 0
    web_fetch_requests: int = 0


class Usage(Shape):
    """A session's or thread's totals, as ``usage`` shows them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation: CacheCreation | None = None
    list_cost: Money | None = Money(amount="0")
    active_seconds: float = 0
    server_tool_use: ServerToolUse | None = ServerToolUse()


class BudgetLimit(Shape):
    """A hard ceiling at list price."""

    type: Literal["limit"] = "limit"
    max_list_cost: Money

    def micro_usd(self) -> int:
        """The ceiling in millionths of a dollar."""
        return int(self.max_list_cost.amount) * MICRO_USD_PER_CENT


def with_running_time(model_cost_micro_usd: int, active_seconds: float) -> int:
    """List cost in millionths of a dollar of model requests and of the time in which the session ran."""
    return model_cost_micro_usd + round(active_seconds / 3600 * RUNNING_HOUR_MICRO_USD)
