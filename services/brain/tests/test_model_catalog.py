"""What is known about models, and what a request costs at list price."""

import pytest

from efferent.common.domain.model_catalog import (
    EFFORT_LEVELS,
    KNOWN_MODELS,
    EffortLevel,
    effort_for,
    list_cost_micro_usd,
    thinking_family,
    traits_of,
)
from efferent.common.domain.usage import ModelUsage


def test_known_models_are_listed_once_and_newest_first() -> None:
    ids = [traits.id for traits in KNOWN_MODELS]
    assert len(set(ids)) == len(ids)
    days = [traits.created_at or "" for traits in KNOWN_MODELS]
    assert days == sorted(days, reverse=True)


def test_every_known_model_has_window_price_line_and_its_default_effort() -> None:
    for traits in KNOWN_MODELS:
        assert traits.prices is not None
        assert traits.line is not None
        assert traits.line in traits.id
        assert traits.output_tokens_max < traits.context_window
        assert not traits.efforts or traits.effort_default in traits.efforts


@pytest.mark.parametrize(
    ("model", "usage", "micro_usd"),
    [
        ("claude-opus-5", ModelUsage(input_tokens=1_000_000), 5_000_000),
        ("claude-opus-5", ModelUsage(output_tokens=1_000), 25_000),
        ("claude-opus-5", ModelUsage(output_tokens=1_000, speed="fast"), 50_000),
        ("claude-sonnet-4-5", ModelUsage(cache_creation_input_tokens=100, cache_read_input_tokens=1_000), 675),
        ("claude-haiku-5-5", ModelUsage(input_tokens=100_000), 10_000),
        ("claude-haiku-5-5", ModelUsage(input_tokens=100_000, cache_read_input_tokens=1), 50_000),
        ("claude-haiku-5-5", ModelUsage(input_tokens=5), 1),
        ("offline/echo", ModelUsage(input_tokens=5), 0),
        ("gpt-9", ModelUsage(input_tokens=5), None),
    ],
)
def test_list_cost(model: str, usage: ModelUsage, micro_usd: int | None) -> None:
    assert list_cost_micro_usd(model, usage) == micro_usd


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("claude-opus-5", "max", "max"),
        ("claude-opus-4-6", "xhigh", "high"),
        ("claude-opus-4-5", "max", "high"),
        ("claude-haiku-4-5", "low", None),
    ],
)
def test_effort_that_is_sent(model: str, wanted: EffortLevel, sent: EffortLevel | None) -> None:
    assert effort_for(traits_of(model), wanted) == sent


def test_mid_conversation_system_follows_the_contract() -> None:
    taking = {traits.id for traits in KNOWN_MODELS if traits.mid_conversation_system}
    assert {"claude-fable-5-1", "claude-fable-5", "claude-opus-5-5", "claude-opus-5", "claude-opus-4-8"} <= taking
    assert "claude-sonnet-5-5" in taking
    assert "claude-sonnet-5" not in taking


def test_unknown_models_get_cautious_defaults() -> None:
    house = traits_of("house/model")
    assert (house.context_window, house.prices, house.thinking) == (200_000, None, "none")
    newer = traits_of("claude-opus-9")
    assert (newer.thinking, newer.efforts, newer.prices) == ("adaptive", EFFORT_LEVELS, None)
    assert traits_of("anthropic/claude-opus-5").line == "opus"


def test_thinking_stays_in_the_family() -> None:
    assert thinking_family("claude-opus-5") == thinking_family("claude-opus-4-5-20251101")
    assert thinking_family("claude-opus-5") != thinking_family("claude-sonnet-5")
    assert thinking_family("deepseek/r9") != thinking_family("deepseek/r8")
