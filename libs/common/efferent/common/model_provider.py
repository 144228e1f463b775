"""The shape of the models file: providers, their patterns, limits and prices. Names of variables, never keys."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from efferent.common.domain.model_catalog import Prices, ThinkingStyle


class ModelConfigError(Exception):
    """The configuration of models is wrong; the message says where and what is allowed. It stops the start."""


def http_url(value: str) -> str:
    """The address without trailing slashes. Raises ValueError when it cannot be a provider's base URL."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    _ = parts.port  # raises ValueError when it is not a number
    return value.rstrip("/")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


VariableName = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$", max_length=100)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class ListPrices(_Entry):
    """Prices of a provider's models in USD per million tokens."""

    input: Annotated[float, Field(ge=0, le=1_000_000)]
    output: Annotated[float, Field(ge=0, le=1_000_000)]
    cache_write: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """None: like ``input``."""
    cache_read: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """None: like ``input``."""

    def prices(self) -> Prices:
        """The same in nano-USD per token."""
        write = self.input if self.cache_write is None else self.cache_write
        read = self.input if self.cache_read is None else self.cache_read
        return Prices(*(round(usd * 1_000) for usd in (self.input, self.output, write, read)))


class Provider(_Entry):
    """One provider: the models that it answers for and how it is reached."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    kind: Literal["anthropic", "litellm", "offline"]
    models: Annotated[list[ModelName], Field(min_length=1, max_length=100)]
    """Patterns with ``*`` and ``?``; the first provider with a match answers."""
    base_url: Annotated[str, AfterValidator(http_url)] | None = None
    api_key_env: VariableName | None = None
    """Variable that holds the key. None: no key is sent (litellm may find one by itself)."""
    auth_token_env: VariableName | None = None
    """Variable that holds a bearer token, used when there is no key."""
    send_as: Annotated[str, Field(pattern=r"\{(model|name)\}", max_length=256)] = "{model}"
    """The id that the provider is sent: ``{model}`` is the whole id, ``{name}`` what follows its first slash."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Silent tries after a failed one, before any text has come; the session's own visible retries come on top."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10
    silence_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120
    """Longest wait for the next bytes of an answer."""
    request_timeout_s: Annotated[float, Field(gt=0, le=7200)] = 600
    """Longest life of one request."""
    fallback: ModelName | None = None
    """Model to ask instead when this provider fails for good before any text has come."""
    context_window: Annotated[int, Field(ge=1_000, le=100_000_000)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    thinking: ThinkingStyle | None = None
    prices: ListPrices | None = None

    @property
    def overrides_traits(self) -> bool:
        """Whether anything here stands over what the catalog knows about a model."""
        return (self.context_window or self.max_output_tokens or self.thinking or self.prices) is not None

    def sent_id(self, model_id: str) -> str:
        """The model id that the provider knows."""
        return self.send_as.replace("{model}", model_id).replace("{name}", model_id.split("/", 1)[-1])


def _named_once(providers: list[Provider]) -> list[Provider]:
    names = [provider.name for provider in providers]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two providers have the name {min(repeated)!r}")
    if any(provider.name == "offline" and provider.kind != "offline" for provider in providers):
        raise ValueError("the name 'offline' belongs to the offline models")
    return providers


class ModelFile(_Entry):
    """The whole YAML file."""

    providers: Annotated[list[Provider], Field(max_length=100), AfterValidator(_named_once)] = []
