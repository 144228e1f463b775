"""The Anthropic Messages API over bare aiohttp: one session of connections for the life of the process.

The client library's own stream costs more than ten times as much per request as this; what it gives besides
(authentication, headers, timeouts, meaning of errors) is in ``model_failures`` and here.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from efferent.brain.adapters.anthropic_reply import ReplyReader, StreamError
from efferent.brain.adapters.anthropic_request import EncodedRequest, RequestEncoder
from efferent.brain.adapters.model_failures import (
    Account,
    ContextOverflow,
    from_error_type,
    from_status,
    retryable,
)
from efferent.brain.adapters.sse_decoder import SseDecoder, SseLimitExceeded
from efferent.brain.adapters.stream_nonsense import StreamNonsense
from efferent.brain.ports import ModelChunk, ModelFailure, ModelReply, ModelRequest
from efferent.common.domain.model_catalog import ModelTraits
from efferent.common.domain.usage import ModelUsage
from efferent.common.model_config import ANTHROPIC_URL
from efferent.common.model_provider import Provider

API_VERSION: Final = "2023-06-01"
CONNECTIONS_MAX: Final = 2_000
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
AFTER_STOP_S: Final = 1.0
"""Longest wait for the end of a stream after its last event; then the connection is given up, not the answer."""
WHOLE_BYTES_MAX: Final = 256 * 1024
"""A larger body is sent in pieces: nothing is copied, and one long history does not hold up every other request."""

_OVERFLOW: Final = ModelReply((), "context_window_exceeded", ModelUsage())


class AnthropicModel:
    """The ``Model`` port for every provider that speaks the Messages API."""

    def __init__(self, provider: Provider, environ: Mapping[str, str], traits_of: Callable[[str], ModelTraits]) -> None:
        """``environ`` is where the key is found; ``traits_of`` tells what is known about a model id."""
        self._provider = provider
        self._traits_of = traits_of
        self._url = f"{provider.base_url or ANTHROPIC_URL}/v1/messages"
        key = environ.get(provider.api_key_env or "", "").strip()
        token = environ.get(provider.auth_token_env or "", "").strip()
        variables = tuple(name for name in (provider.api_key_env, provider.auth_token_env) if name)
        self._account = Account(provider.name, variables, tuple(filter(None, (key, token))))
        self._has_key = bool(key or token) or not variables
        self._headers = _headers(key, token)
        self._encoder = RequestEncoder()
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Ask the model; see ``Model.stream``."""
        if not self._has_key:
            raise self._account.missing_key()
        model_id = request.model.id
        encoded = self._encoder.encode(request, self._provider.sent_id(model_id), self._traits_of(model_id))
        decoder, reader = SseDecoder(), ReplyReader(model_id)
        try:
            async with self._post(encoded) as response:
                if response.status != 200:
                    raise await self._refusal(response)
                async for received in response.content.iter_any():
                    for data in decoder.feed(received):
                        for chunk in reader.read(data):
                            yield chunk
                    if reader.reply is not None:
                        break
                if reader.reply is None:
                    raise StreamNonsense(f"it ended before message_stop (content type {response.content_type})")
                await self._expect_end(response, decoder, reader)
            yield reader.reply
        except ContextOverflow:
            yield _OVERFLOW
        except StreamError as error:
            yield self._reported(error)
        except (StreamNonsense, SseLimitExceeded) as error:
            raise retryable(self._account, f"the stream makes no sense: {error}") from error
        except TimeoutError as error:
            raise retryable(self._account, f"timed out ({str(error) or 'the whole request took too long'})") from error
        except (aiohttp.ClientError, OSError) as error:
            raise retryable(self._account, f"the connection failed ({type(error).__name__}: {error})") from error

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()

    def _post(self, encoded: EncodedRequest) -> "aiohttp.client._RequestContextManager":
        headers = self._headers
        if encoded.betas:
            headers = {**headers, "anthropic-beta": ",".join(encoded.betas)}
        body: bytes | AsyncIterator[bytes]
        if (size := encoded.size) > WHOLE_BYTES_MAX:
            headers = {**headers, "content-length": str(size)}
            body = _sent_in_pieces(encoded.pieces)
        else:
            body = encoded.body
        # A redirect would carry the key to another host.
        return self._connections().post(self._url, data=body, headers=headers, allow_redirects=False)

    def _connections(self) -> aiohttp.ClientSession:
        """The process's connections; made on first use, inside the loop that will use them."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                proxy=_proxy(self._url),
                read_bufsize=256 * 1024,
                timeout=aiohttp.ClientTimeout(
                    total=self._provider.request_timeout_s,
                    sock_connect=self._provider.connect_timeout_s,
                    sock_read=self._provider.silence_timeout_s,
                ),
            )
        return self._session

    async def _expect_end(self, response: aiohttp.ClientResponse, decoder: SseDecoder, reader: ReplyReader) -> None:
        """Read to the end of the body, so that the connection can be used again. Raises StreamNonsense for more."""
        if response.content.at_eof():
            return
        try:
            async with asyncio.timeout(AFTER_STOP_S):
                async for received in response.content.iter_any():
                    for data in decoder.feed(received):
                        for _ in reader.read(data):
                            pass
        except TimeoutError:
            response.close()

    def _reported(self, error: StreamError) -> ModelReply:
        """An error inside the stream: a reply when it is an overflow, else raises ModelFailure."""
        try:
            raise from_error_type(self._account, error.error_type, error.remark) from error
        except ContextOverflow:
            return _OVERFLOW

    async def _refusal(self, response: aiohttp.ClientResponse) -> ModelFailure:
        """What a response other than 200 means. Raises ContextOverflow."""
        body = await response.content.read(ERROR_BODY_BYTES_MAX)
        while len(body) < ERROR_BODY_BYTES_MAX and (more := await response.content.read(ERROR_BODY_BYTES_MAX)):
            body += more
        error_type, remark = _error_words(body)
        return from_status(self._account, response.status, error_type, remark, response.headers)


def _headers(key: str, token: str) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "anthropic-version": API_VERSION,
        "user-agent": "efferent",
    }
    if key:
        headers["x-api-key"] = key
    elif token:
        headers["authorization"] = f"Bearer {token}"
    return headers


def _error_words(body: bytes) -> tuple[str, str]:
    """Type and message of an error body; empty when it has none."""
    try:
        parsed: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    match parsed:
        case {"error": {"type": str(error_type), "message": str(remark)}}:
            return error_type, remark
        case {"error": {"message": str(remark)}} | {"message": str(remark)}:
            return "", remark
        case _:
            return "", ""


def _proxy(url: str) -> str | None:
    """The proxy that the environment sets for this address."""
    parts = urlsplit(url)
    if parts.hostname in ("localhost", "127.0.0.1", "::1") or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


async def _sent_in_pieces(pieces: tuple[bytes, ...]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        for start in range(0, len(piece), WHOLE_BYTES_MAX):
            yield piece[start : start + WHOLE_BYTES_MAX]  # the piece itself when it is no longer
