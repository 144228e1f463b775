"""What is known about models: windows, prices, efforts and abilities. Pure data and lookups, no provider's code.

The figures are the providers' public list values; a comment marks each one that is not public and was taken from the
model's family. A model that is not listed gets cautious defaults, which a provider entry of the models file may
override (``efferent.common.model_config``).
"""

from dataclasses import dataclass
from typing import Final, Literal

from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import ModelUsage

EffortLevel = Literal["low", "medium", "high", "xhigh", "max"]
Line = Literal["haiku", "sonnet", "opus", "fable", "mythos"]
Lifecycle = Literal["active", "deprecated", "retired"]

ThinkingStyle = Literal["adaptive", "adaptive_always", "budget", "none"]
"""``adaptive``: the model decides how much; ``adaptive_always``: and it cannot be turned off; ``budget``: a budget of
tokens is set by the caller; ``none``: nothing about thinking is sent."""

EFFORT_LEVELS: Final[tuple[EffortLevel, ...]] = ("low", "medium", "high", "xhigh", "max")
CONTEXT_WINDOW_DEFAULT: Final = 200_000
OUTPUT_TOKENS_DEFAULT: Final = 32_000


@dataclass(frozen=True, slots=True)
class Prices:
    """List prices in nano-USD per token: 1,000 = 1 USD per million tokens."""

    input: int
    output: int
    cache_write: int
    """Written to the cache with a life of five minutes."""
    cache_read: int


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """One model, as far as it is known."""

    id: str
    display_name: str
    created_at: Timestamp | None = None
    line: Line | None = None
    lifecycle: Lifecycle = "active"
    deprecated_at: Timestamp | None = None
    retires_at: Timestamp | None = None
    context_window: int = CONTEXT_WINDOW_DEFAULT
    """Tokens of input that fit."""
    output_tokens_max: int = OUTPUT_TOKENS_DEFAULT
    prices: Prices | None = None
    """None: no list price, so a session with a budget cannot use the model."""
    long_prices: Prices | None = None
    """Prices of the whole request once its input is longer than ``long_above_tokens``."""
    long_above_tokens: int = 0
    fast_multiplier: int = 0
    """Price factor of ``speed: fast``; 0: the model has no fast speed."""
    efforts: tuple[EffortLevel, ...] = ()
    """Effort levels that the model takes; empty: the model has no effort setting."""
    effort_default: EffortLevel = "high"
    thinking: ThinkingStyle = "none"
    thinking_bound: bool = False
    """Signed thinking is refused when anything before it has changed, unless the request asks to drop it."""
    mid_conversation_system: bool = False
    """Takes messages of role ``system`` after the first user message."""
    image_input: bool = True
    pdf_input: bool = True


_4_5: Final[tuple[EffortLevel, ...]] = ("low", "medium", "high")
_4_6: Final[tuple[EffortLevel, ...]] = ("low", "medium", "high", "max")

_HAIKU_4: Final = Prices(input=1_000, output=5_000, cache_write=1_250, cache_read=100)
_SONNET_4: Final = Prices(input=3_000, output=15_000, cache_write=3_750, cache_read=300)
_SONNET_5: Final = Prices(input=2_000, output=10_000, cache_write=2_500, cache_read=200)
_SONNET_5_5: Final = Prices(input=2_000, output=10_000, cache_write=2_500, cache_read=100)
_OPUS: Final = Prices(input=5_000, output=25_000, cache_write=6_250, cache_read=500)
_OPUS_5_5: Final = Prices(input=4_000, output=20_000, cache_write=5_000, cache_read=200)
_FABLE_5: Final = Prices(input=10_000, output=50_000, cache_write=12_500, cache_read=1_000)
_FABLE_5_1: Final = Prices(input=10_000, output=50_000, cache_write=12_500, cache_read=250)
_HAIKU_5_5: Final = Prices(input=100, output=500, cache_write=125, cache_read=10)
_HAIKU_5_5_LONG: Final = Prices(input=500, output=2_500, cache_write=625, cache_read=50)


def _small(
    id: str,
    display_name: str,
    created: str,
    line: Line,
    prices: Prices,
    efforts: tuple[EffortLevel, ...] = (),
    retires: str | None = None,
) -> ModelTraits:
    """A model of the 4.5 generation: 200,000 tokens, thinking by budget."""
    return ModelTraits(
        id=id,
        display_name=display_name,
        created_at=_day(created),
        line=line,
        lifecycle="deprecated" if retires else "active",
        # The day of the deprecation is not public knowledge; the release of the successor stands for it.
        deprecated_at=_day("2026-06-30") if retires else None,
        retires_at=_day(retires) if retires else None,
        output_tokens_max=64_000,
        prices=prices,
        efforts=efforts,
        thinking="budget",
    )


def _large(
    id: str,
    display_name: str,
    created: str,
    line: Line,
    prices: Prices,
    *,
    thinking: ThinkingStyle = "adaptive",
    efforts: tuple[EffortLevel, ...] = EFFORT_LEVELS,
    effort_default: EffortLevel = "high",
    bound: bool = False,
    system: bool = False,
    fast_multiplier: int = 0,
    long_prices: Prices | None = None,
    long_above_tokens: int = 0,
    retired: str | None = None,
) -> ModelTraits:
    """A model of the generations since 4.6: a million tokens, adaptive thinking."""
    return ModelTraits(
        id=id,
        display_name=display_name,
        created_at=_day(created),
        line=line,
        lifecycle="retired" if retired else "active",
        deprecated_at=_day(retired) if retired else None,
        retires_at=_day(retired) if retired else None,
        context_window=1_000_000,
        output_tokens_max=128_000,
        prices=prices,
        long_prices=long_prices,
        long_above_tokens=long_above_tokens,
        fast_multiplier=fast_multiplier,
        efforts=efforts,
        effort_default=effort_default,
        thinking=thinking,
        thinking_bound=bound,
        mid_conversation_system=system,
    )


def _day(date: str) -> Timestamp:
    return Timestamp(f"{date}T00:00:00.000000Z")


KNOWN_MODELS: Final[tuple[ModelTraits, ...]] = (
    # Fable 5.2 and Mythos 5.2: release day, prices and fast factor are not public knowledge; the family's are used.
    _large("claude-fable-5-2", "Claude Fable 5.2", "2026-11-10", "fable", _FABLE_5_1, thinking="adaptive_always",
           bound=True, system=True, fast_multiplier=2),
    _large("claude-mythos-5-2", "Claude Mythos 5.2", "2026-11-10", "mythos", _FABLE_5_1, thinking="adaptive_always",
           bound=True, system=True),
    # The exact release days of Haiku 5.5 and of Fable and Mythos 5.1 are not known here; the order is.
    _large("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-07", "haiku", _HAIKU_5_5, effort_default="medium",
           bound=True, system=True, long_prices=_HAIKU_5_5_LONG, long_above_tokens=100_000),
    _large("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-28", "sonnet", _SONNET_5_5, bound=True, system=True),
    _large("claude-opus-5-5", "Claude Opus 5.5", "2026-09-22", "opus", _OPUS_5_5, thinking="adaptive_always",
           effort_default="medium", bound=True, system=True, fast_multiplier=2),
    _large("claude-fable-5-1", "Claude Fable 5.1", "2026-08-31", "fable", _FABLE_5_1, thinking="adaptive_always",
           bound=True, system=True),
    _large("claude-mythos-5-1", "Claude Mythos 5.1", "2026-08-31", "mythos", _FABLE_5_1, thinking="adaptive_always",
           bound=True, system=True),
    _large("claude-opus-5", "Claude Opus 5", "2026-07-24", "opus", _OPUS, system=True, fast_multiplier=2),
    _large("claude-sonnet-5", "Claude Sonnet 5", "2026-06-30", "sonnet", _SONNET_5),
    _large("claude-fable-5", "Claude Fable 5", "2026-06-09", "fable", _FABLE_5, thinking="adaptive_always",
           system=True),
    _large("claude-mythos-5", "Claude Mythos 5", "2026-06-09", "mythos", _FABLE_5, thinking="adaptive_always",
           system=True),
    _large("claude-opus-4-8", "Claude Opus 4.8", "2026-05-28", "opus", _OPUS, system=True, fast_multiplier=2),
    _large("claude-opus-4-7", "Claude Opus 4.7", "2026-04-16", "opus", _OPUS),
    _large("claude-mythos-preview", "Claude Mythos Preview", "2026-04-07", "mythos", _FABLE_5,
           thinking="adaptive_always", retired="2026-06-30"),
    _large("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17", "sonnet", _SONNET_4, efforts=_4_6),
    _large("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05", "opus", _OPUS, efforts=_4_6),
    _small("claude-opus-4-5", "Claude Opus 4.5", "2025-11-24", "opus", _OPUS, efforts=_4_5),
    _small("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24", "opus", _OPUS, efforts=_4_5),
    _small("claude-haiku-4-5", "Claude Haiku 4.5", "2025-10-15", "haiku", _HAIKU_4),
    _small("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15", "haiku", _HAIKU_4),
    _small("claude-sonnet-4-5", "Claude Sonnet 4.5", "2025-09-29", "sonnet", _SONNET_4, retires="2026-11-30"),
    _small("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29", "sonnet", _SONNET_4,
           retires="2026-11-30"),
)  # fmt: skip
"""Newest release first, which is the order in which the API lists models."""

_BY_ID: Final = {traits.id: traits for traits in KNOWN_MODELS}
_OFFLINE_PRICES: Final = Prices(input=0, output=0, cache_write=0, cache_read=0)


def traits_of(model_id: str) -> ModelTraits:
    """What is known about a model, or the defaults for its kind. Never fails."""
    known = _BY_ID.get(model_id.removeprefix("anthropic/"))
    if known is not None:
        return known
    if model_id.startswith("offline/"):
        return ModelTraits(model_id, model_id, prices=_OFFLINE_PRICES, efforts=EFFORT_LEVELS)
    if model_id.removeprefix("anthropic/").startswith("claude-"):
        # A model newer than this list: what every model of the last generations takes.
        return ModelTraits(model_id, model_id, efforts=EFFORT_LEVELS, thinking="adaptive")
    return ModelTraits(model_id, model_id, efforts=EFFORT_LEVELS)


def refuses_system_messages(model_id: str) -> bool:
    """Whether it is known that a conversation with the model cannot have system messages in its middle.

    A model that is not listed gets them as marked text of the user.
    """
    known = _BY_ID.get(model_id.removeprefix("anthropic/"))
    return known is not None and not known.mid_conversation_system


def thinking_family(model_id: str) -> str:
    """Models of one family may be shown each other's signed thinking; no other model ever is."""
    return traits_of(model_id).line or model_id


def effort_for(traits: ModelTraits, wanted: EffortLevel) -> EffortLevel | None:
    """The level to ask for: the wanted one or the next lower that the model takes; None when it takes none."""
    below = EFFORT_LEVELS[: EFFORT_LEVELS.index(wanted) + 1]
    return next((level for level in reversed(below) if level in traits.efforts), None)


def cost_micro_usd(traits: ModelTraits, usage: ModelUsage) -> int | None:
    """List price of one request in millionths of a dollar, rounded half up; None when the model has no list price."""
    prompt_tokens = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    long = traits.long_prices is not None and prompt_tokens > traits.long_above_tokens
    prices = traits.long_prices if long else traits.prices
    if prices is None:
        return None
    nano_usd = (
        usage.input_tokens * prices.input
        + usage.output_tokens * prices.output
        + usage.cache_creation_input_tokens * prices.cache_write
        + usage.cache_read_input_tokens * prices.cache_read
    )
    if usage.speed == "fast":
        nano_usd *= max(1, traits.fast_multiplier)
    return (nano_usd + 500) // 1_000


def list_cost_micro_usd(model_id: str, usage: ModelUsage) -> int | None:
    """List price of one request by the catalog alone; see ``cost_micro_usd``."""
    return cost_micro_usd(traits_of(model_id), usage)
