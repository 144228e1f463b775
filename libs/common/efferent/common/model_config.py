"""Which provider answers for which model id: one optional YAML file plus environment variables.

Shared by the gateway (may an agent name this model?) and the brain (who is asked?). It holds names of variables, never
keys, and knows no provider's protocol.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from efferent.common.domain.model_catalog import ModelTraits, cost_micro_usd, traits_of
from efferent.common.domain.usage import ModelUsage
from efferent.common.model_file import read_model_file
from efferent.common.model_provider import ModelConfigError, Provider, http_url

FILE_VARIABLE: Final = "EFFERENT_MODELS_FILE"
ANTHROPIC_URL: Final = "https://api.anthropic.com"
LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class UnknownModel(Exception):
    """No provider answers for this model id."""

    def __init__(self, model_id: str, patterns: Sequence[str]) -> None:
        super().__init__(f"no provider for model {model_id!r}; the configured patterns are: {', '.join(patterns)}")
        self.model_id = model_id
        self.patterns = tuple(patterns)


@dataclass(frozen=True, slots=True)
class ModelConfigs:
    """All providers in the order in which they are tried."""

    providers: tuple[Provider, ...]
    imports_litellm: bool = False
    """Whether the operator means to use a provider behind litellm, so that its import belongs to the start: one of the
    models file, or one that needs no file and whose key or base URL is set."""

    def route(self, model_id: str) -> Provider:
        """The provider that answers for a model id. Raises UnknownModel, whose message lists the patterns."""
        for provider in self.providers:
            if _is_one_of(model_id, tuple(provider.models)):
                return provider
        raise UnknownModel(model_id, [pattern for provider in self.providers for pattern in provider.models])

    def traits(self, model_id: str) -> ModelTraits:
        """What is known about a model, with its provider's settings over the catalog. Raises UnknownModel."""
        provider = self.route(model_id)
        traits = traits_of(model_id)
        if not provider.overrides_traits:
            return traits
        if provider.prices is not None:
            prices = provider.prices.prices()
            traits = replace(traits, prices=prices, long_prices=None, fast_multiplier=min(1, traits.fast_multiplier))
        return replace(
            traits,
            context_window=provider.context_window or traits.context_window,
            output_tokens_max=provider.max_output_tokens or traits.output_tokens_max,
            thinking=provider.thinking or traits.thinking,
        )

    def has_list_price(self, model_id: str) -> bool:
        """Whether what the model costs can be told; a budget needs it."""
        return self.list_cost_micro_usd(model_id, ModelUsage()) is not None

    def list_cost_micro_usd(self, model_id: str, usage: ModelUsage) -> int | None:
        """List price of one request; None when the model has no list price or no provider."""
        try:
            return cost_micro_usd(self.traits(model_id), usage)
        except UnknownModel:
            return None


def load(environ: Mapping[str, str]) -> ModelConfigs:
    """Read the file that ``EFFERENT_MODELS_FILE`` names, if any, and the providers that need no file.

    Raises ModelConfigError with the file, the line and the path of what is wrong.
    """
    path = environ.get(FILE_VARIABLE)
    own = read_model_file(Path(path)).providers if path else []
    names = {provider.name for provider in own}
    # A provider of the file stands in for the one of the same name that needs no file.
    given = [provider for provider in _providers_without_file(environ) if provider.name not in names]
    meant = any(environ.get(variable) for _, _, *variables, _ in _BY_ENVIRONMENT for variable in variables if variable)
    configs = ModelConfigs((*own, *given), meant or any(provider.kind == "litellm" for provider in own))
    for provider in own:
        _check_fallback(configs, provider)
    return configs


def refuse_own_address(configs: ModelConfigs, host: str, port: int) -> None:
    """Raise ModelConfigError when a provider's base URL is the server itself, listening at ``host``:``port``."""
    for provider in configs.providers:
        if provider.base_url is not None and _is_own(provider.base_url, host, port):
            raise ModelConfigError(
                f"the base URL of model provider {provider.name!r}, {provider.base_url}, is this server's own address "
                f"({host}:{port}); point it at the model provider"
            )


_BY_ENVIRONMENT: Final[tuple[tuple[str, tuple[str, ...], str | None, str | None, str], ...]] = (
    ("openai", ("gpt-*", "chatgpt-*", "o[1-9]*", "openai/*"), "OPENAI_API_KEY", "OPENAI_BASE_URL", "openai/{name}"),
    ("ollama", ("ollama/*",), None, "OLLAMA_API_BASE", "ollama_chat/{name}"),
    ("hosted_vllm", ("hosted_vllm/*",), None, "HOSTED_VLLM_API_BASE", "{model}"),
    ("gemini", ("gemini/*",), "GEMINI_API_KEY", None, "{model}"),
    ("mistral", ("mistral/*",), "MISTRAL_API_KEY", None, "{model}"),
    ("groq", ("groq/*",), "GROQ_API_KEY", None, "{model}"),
    ("deepseek", ("deepseek/*",), "DEEPSEEK_API_KEY", None, "{model}"),
    ("openrouter", ("openrouter/*",), "OPENROUTER_API_KEY", None, "{model}"),
)
"""Providers behind litellm that need no file: name, patterns, variable of the key, of the base URL, id to send."""


def _providers_without_file(environ: Mapping[str, str]) -> list[Provider]:
    providers = [
        Provider(name="offline", kind="offline", models=["offline/*"]),
        Provider(
            name="anthropic",
            kind="anthropic",
            models=["claude-*", "anthropic/*"],
            base_url=_url_of(environ, "ANTHROPIC_BASE_URL") or ANTHROPIC_URL,
            api_key_env="ANTHROPIC_API_KEY",
            auth_token_env="ANTHROPIC_AUTH_TOKEN",  # noqa: S106 - the name of a variable
            send_as="{name}",
        ),
    ]
    for name, patterns, key_env, url_env, send_as in _BY_ENVIRONMENT:
        url = _url_of(environ, url_env) if url_env else None
        # An OpenAI-compatible server of one's own often wants no key; the public one always does.
        key = None if name == "openai" and url and not environ.get("OPENAI_API_KEY") else key_env
        providers.append(
            Provider(
                name=name,
                kind="litellm",
                models=list(patterns),
                base_url=url,
                api_key_env=key,
                send_as=send_as,
            )
        )
    return providers


def _url_of(environ: Mapping[str, str], variable: str) -> str | None:
    value = environ.get(variable)
    if not value:
        return None
    try:
        return http_url(value)
    except ValueError as error:
        raise ModelConfigError(f"the variable {variable} {error}") from error


def _check_fallback(configs: ModelConfigs, provider: Provider) -> None:
    """A fallback must have a provider, and following fallbacks must end."""
    seen = {provider.name}
    target = provider.fallback
    while target is not None:
        try:
            following = configs.route(target)
        except UnknownModel as error:
            raise ModelConfigError(f"the fallback of model provider {provider.name!r} is wrong: {error}") from error
        if following.name in seen:
            raise ModelConfigError(f"the fallbacks of model provider {provider.name!r} run in a circle")
        seen.add(following.name)
        target = following.fallback


def _is_own(base_url: str, host: str, port: int) -> bool:
    parts = urlsplit(base_url)
    theirs = (parts.hostname or "").lower()
    if (parts.port or {"http": 80, "https": 443}[parts.scheme]) != port:
        return False
    own = host.strip("[]").lower()
    if theirs == own:
        return True
    everywhere = own in ("", "0.0.0.0", "::")
    # A client that connects to the unspecified address reaches its own machine.
    return (_is_loopback(theirs) or theirs in ("0.0.0.0", "::")) and (everywhere or _is_loopback(own))


def _is_loopback(host: str) -> bool:
    if host in LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@lru_cache(maxsize=1_024)
def _is_one_of(model_id: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern takes the id. Asked several times for each model request, always about the same few models."""
    return any(fnmatchcase(model_id, pattern) for pattern in patterns)
