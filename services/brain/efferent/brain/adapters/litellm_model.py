"""Every provider but Anthropic, through litellm: OpenAI, Ollama, vLLM, Gemini, Bedrock and the rest.

litellm takes seconds and more than a hundred megabytes to import, so it is imported in a thread, at start-up, and only
when the configuration routes a model to it. It is told to use the files that it carries and to send nothing home.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from efferent.brain.adapters.litellm_reply import ChatReplyReader
from efferent.brain.adapters.litellm_request import chat_messages, chat_tools
from efferent.brain.adapters.model_failures import Account, ContextOverflow, from_status, retryable
from efferent.brain.adapters.stream_nonsense import StreamNonsense
from efferent.brain.ports import ModelChunk, ModelFailure, ModelReply, ModelRequest
from efferent.common.domain.model_catalog import EffortLevel, ModelTraits
from efferent.common.domain.usage import ModelUsage
from efferent.common.model_provider import Provider

_LOCAL_ONLY: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_MODE": "PRODUCTION",  # otherwise a .env file of the working directory is read
}
_EFFORTS: Final[dict[EffortLevel, str]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


class Litellm:
    """The library, imported once for the process and shared by all providers behind it."""

    def __init__(self) -> None:
        self._importing: asyncio.Task[Any] | None = None

    async def load(self) -> Any:
        """The module; the first call imports it in a thread."""
        if self._importing is None:
            self._importing = asyncio.create_task(asyncio.to_thread(_import))
        return await asyncio.shield(self._importing)

    async def close(self) -> None:
        """Close the clients that litellm keeps."""
        if self._importing is not None:
            module = await self._importing
            await module.close_litellm_async_clients()


class LitellmModel:
    """The ``Model`` port for one provider behind litellm."""

    def __init__(
        self,
        provider: Provider,
        environ: Mapping[str, str],
        traits_of: Callable[[str], ModelTraits],
        litellm: Litellm,
    ) -> None:
        self._provider = provider
        self._traits_of = traits_of
        self._litellm = litellm
        self._key = environ.get(provider.api_key_env or "", "").strip()
        variables = (provider.api_key_env,) if provider.api_key_env else ()
        self._account = Account(provider.name, variables, (self._key,) if self._key else ())

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Ask the model; see ``Model.stream``."""
        if self._provider.api_key_env and not self._key:
            raise self._account.missing_key()
        litellm = await self._litellm.load()
        reader = ChatReplyReader(request.model.id)
        try:
            async with asyncio.timeout(self._provider.connect_timeout_s + self._provider.silence_timeout_s):
                answer = await litellm.acompletion(**self._arguments(request))
            try:
                while (received := await self._next(answer)) is not None:
                    for chunk in reader.read(received):
                        yield chunk
            finally:
                await answer.aclose()
            yield reader.finish()
        except (ModelFailure, asyncio.CancelledError):
            raise
        except StreamNonsense as error:
            raise retryable(self._account, f"the stream makes no sense: {error}") from error
        except TimeoutError as error:
            raise retryable(self._account, "timed out: no answer within the time allowed") from error
        except Exception as error:
            # litellm has a class of its own for every provider's every error; what counts is the status.
            yield self._refused(litellm, error)

    async def close(self) -> None:
        """Nothing of its own to close: the clients belong to ``Litellm``."""

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        traits = self._traits_of(request.model.id)
        arguments: dict[str, Any] = {
            "model": self._provider.sent_id(request.model.id),
            "messages": chat_messages(request),
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": self._provider.request_timeout_s,
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
        }
        if request.tools:
            arguments["tools"] = chat_tools(request.tools)
            # litellm would look for MCP servers of its own among them, with a package that is not installed.
            arguments["_skip_mcp_handler"] = True
        if self._provider.max_output_tokens is not None:
            arguments["max_tokens"] = self._provider.max_output_tokens
        if traits.thinking != "none":
            arguments["reasoning_effort"] = _EFFORTS[request.model.effort.type]
        if self._provider.base_url is not None:
            arguments["api_base"] = self._provider.base_url
        if self._key or self._provider.base_url is not None:
            # The OpenAI client insists on some key even where the server wants none.
            arguments["api_key"] = self._key or "none"
        return arguments

    async def _next(self, answer: Any) -> Any:
        """The next piece; None at the end. Raises TimeoutError after too long a silence."""
        async with asyncio.timeout(self._provider.silence_timeout_s):
            return await anext(answer, None)

    def _refused(self, litellm: Any, error: Exception) -> ModelReply:
        """What an exception of litellm means: a reply for an overflow, else raises ModelFailure."""
        if isinstance(error, litellm.exceptions.ContextWindowExceededError):
            return ModelReply((), "context_window_exceeded", ModelUsage())
        if isinstance(error, litellm.exceptions.ContentPolicyViolationError):
            return ModelReply((), "refusal", ModelUsage())
        status = getattr(error, "status_code", None)
        remark = str(getattr(error, "message", "") or error)
        if not isinstance(status, int) or isinstance(error, litellm.exceptions.APIConnectionError):
            raise retryable(self._account, f"the request failed: {self._account.scrub(remark)}") from error
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        try:
            raise from_status(self._account, status, type(error).__name__, remark, headers) from error
        except ContextOverflow:
            return ModelReply((), "context_window_exceeded", ModelUsage())


def _import() -> Any:
    for name, value in _LOCAL_ONLY.items():
        os.environ.setdefault(name, value)
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    return litellm
