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
_BEGINNING_LENGTH: Final = 8
"""So much of a secret is taken for its beginning."""
_BASE64_GROUP: Final = 3
"""Bytes that base64 encodes together."""


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
    forms = _forms(secrets)
    text = _scrubbed(body.decode("utf-8", "replace"), forms)
    shown = SeenResponse(
        status_code=response.status,
        content_type=_scrubbed(response.headers.get("content-type", ""), forms)[:CONTENT_TYPE_LENGTH_MAX],
        body=text[:SHOWN_LENGTH_MAX],
        body_truncated=len(text) > SHOWN_LENGTH_MAX or len(body) >= READ_BYTES_MAX,
    )
    return shown, body


def scrub(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets and without beginnings of them, in whatever usual encoding they stand in it."""
    return _scrubbed(text, _forms(secrets))


def _scrubbed(text: str, forms: Sequence[str]) -> str:
    for form in forms:
        text = text.replace(form, SCRUBBED)
    for form in forms:
        text = _without_beginnings(text, form)
    return text


def _without_beginnings(text: str, form: str) -> str:
    """Who cuts an answer may cut a secret in it."""
    beginning, shown, at = form[:_BEGINNING_LENGTH], [], 0
    while (found := text.find(beginning, at)) >= 0:
        length = len(beginning)
        while length < len(form) and text.startswith(form[length], found + length):
            length += 1
        shown += [text[at:found], SCRUBBED]
        at = found + length
    return "".join([*shown, text[at:]])


def _forms(secrets: Sequence[str]) -> Sequence[str]:
    """All encodings of all secrets, longest first."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) >= _SHORT_SECRET_LENGTH:
            found |= _encodings(secret)
    return sorted(found, key=len, reverse=True)


def _encodings(secret: str) -> set[str]:
    plain = {secret, quote(secret, safe=""), quote_plus(secret)}
    encoded = plain | {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    for text in plain:
        raw = text.encode()
        encoded.add(raw.hex())
        for standard in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
            encoded |= {standard, standard.rstrip("=")}
        encoded |= _inside_base64(raw)
    return encoded


def _inside_base64(raw: bytes) -> set[str]:
    """How base64 of a longer text shows this part of it: without the groups that it shares with what stands around."""
    found: set[str] = set()
    for skipped in range(_BASE64_GROUP):
        groups = raw[skipped : skipped + (len(raw) - skipped) // _BASE64_GROUP * _BASE64_GROUP]
        if len(groups) >= _SHORT_SECRET_LENGTH:
            found |= {base64.b64encode(groups).decode(), base64.urlsafe_b64encode(groups).decode()}
    return found


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """No more than ``READ_BYTES_MAX``, of a stream that may never end."""
    body = bytearray()
    async for chunk in stream.iter_chunked(16 * 1024):
        body += chunk
        if len(body) >= READ_BYTES_MAX:
            return bytes(body[:READ_BYTES_MAX])
    return bytes(body)
