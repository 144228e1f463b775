"""An answer of a foreign server as a client may see it: cut, and without the secrets that it may repeat."""

import base64
import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, quote_plus

import aiohttp

from efferent.common.domain.content import Shape

READ_BYTES_MAX: Final = 256 * 1024
SHOWN_LENGTH_MAX: Final = 4_096
CONTENT_TYPE_LENGTH_MAX: Final = 255
SCRUBBED: Final = "[redacted]"

_SHORT_SECRET_LENGTH: Final = 4
"""Shorter texts are found everywhere; they protect nothing."""


class SeenResponse(Shape):
    """What a foreign server answered."""

    status_code: int
    content_type: str
    body: str
    body_truncated: bool


async def read_response(response: aiohttp.ClientResponse, secrets: Sequence[str]) -> tuple[SeenResponse, bytes]:
    """The answer as it may be shown, and its bytes as far as they are read (``READ_BYTES_MAX``).

    Raises aiohttp.ClientError, TimeoutError.
    """
    body = await _read(response.content)
    text = body.decode("utf-8", "replace")
    scrubbed = scrub(text, secrets)
    shown = SeenResponse(
        status_code=response.status,
        content_type=scrub(response.headers.get("content-type", ""), secrets)[:CONTENT_TYPE_LENGTH_MAX],
        body=scrubbed[:SHOWN_LENGTH_MAX],
        body_truncated=len(scrubbed) > SHOWN_LENGTH_MAX or len(body) >= READ_BYTES_MAX,
    )
    return shown, body


def scrub(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets, in whatever usual encoding they stand in it."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) >= _SHORT_SECRET_LENGTH:
            forms |= _encodings(secret)
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, SCRUBBED)
    return text


def _encodings(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(raw).decode(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
    }


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """No more than ``READ_BYTES_MAX``, of a stream that may never end."""
    body = bytearray()
    async for chunk in stream.iter_chunked(16 * 1024):
        body += chunk
        if len(body) >= READ_BYTES_MAX:
            return bytes(body[:READ_BYTES_MAX])
    return bytes(body)
