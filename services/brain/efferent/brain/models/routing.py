"""One ``Model`` over all providers: picks the provider by model id, tries again silently, falls back to another.

A request that has yielded anything is never tried again here: what was streamed cannot be taken back, and the
session's own visible retries open a new span for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Protocol

from efferent.brain.ports import ModelChunk, ModelFailure, ModelReply, ModelRequest
from efferent.common.model_config import ModelConfigs, UnknownModel
from efferent.common.model_provider import Provider

RETRY_WAIT_S: Final = 0.5
RETRY_WAIT_S_MAX: Final = 8.0
RETRY_AFTER_S_MAX: Final = 30.0
"""A provider that asks for a longer wait is not waited for silently."""


class ProviderModel(Protocol):
    """A ``Model`` whose stream can be closed."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """See ``Model.stream``."""

    async def close(self) -> None:
        """See ``Model.close``."""


class RoutedModels:
    """The ``Model`` port over every configured provider."""

    def __init__(
        self,
        configs: ModelConfigs,
        adapters: Mapping[str, ProviderModel],
        *,
        preparations: Sequence[Callable[[], Awaitable[object]]] = (),
        closings: Sequence[Callable[[], Awaitable[object]]] = (),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``adapters`` by name of provider; ``preparations`` run at the start, ``closings`` at the end."""
        self._configs = configs
        self._adapters = adapters
        self._preparations = preparations
        self._closings = closings
        self._sleep = sleep

    async def start(self) -> None:
        """Do what takes seconds, such as imports, so that no turn has to wait for it."""
        for prepare in self._preparations:
            await prepare()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Ask the provider of the request's model; see ``Model.stream``."""
        asked = request.model.id
        provider = self._route(asked)
        tries = 0
        while True:
            has_yielded = False
            try:
                async with aclosing(self._adapters[provider.name].stream(request)) as chunks:
                    async for chunk in chunks:
                        has_yielded = True
                        if isinstance(chunk, ModelReply) and request.model.id != asked:
                            chunk = replace(chunk, answered_by=request.model.id)
                        yield chunk
                return
            except ModelFailure as failure:
                if has_yielded or failure.verdict == "terminal":
                    raise
                wait_s = _wait_s(failure, tries)
                if failure.verdict == "retryable" and tries < provider.max_retries and wait_s <= RETRY_AFTER_S_MAX:
                    tries += 1
                elif provider.fallback is not None:
                    request = replace(request, model=request.model.model_copy(update={"id": provider.fallback}))
                    # The configuration has made sure that fallbacks lead to another provider each, and so end.
                    provider, tries, wait_s = self._route(provider.fallback), 0, 0.0
                else:
                    raise
            if wait_s:
                await self._sleep(wait_s)

    async def close(self) -> None:
        """Close connections."""
        for adapter in self._adapters.values():
            await adapter.close()
        for closing in self._closings:
            await closing()

    def _route(self, model_id: str) -> Provider:
        try:
            return self._configs.route(model_id)
        except UnknownModel as error:
            # Agents are checked when they are saved; the configuration may have changed since.
            raise ModelFailure("model_request_failed", "exhausted", str(error)) from error


def _wait_s(failure: ModelFailure, tries: int) -> float:
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return min(RETRY_WAIT_S_MAX, RETRY_WAIT_S * 2.0**tries)
