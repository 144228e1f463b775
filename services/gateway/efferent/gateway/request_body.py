"""Reading a request's body whole: how long it may be, how long it may pause, and which charset it may claim."""

import asyncio
from typing import Final

from aiohttp import web

from efferent.gateway.errors import InvalidRequest, RequestTooLarge
from efferent.gateway.validation import quoted

SILENCE_MAX_S: Final = 60.0
"""How long a client may send nothing in the middle of a body."""
_CHARSETS: Final = frozenset({"utf-8", "utf8", "iso-8859-1", "latin1", "us-ascii", "ascii"})
"""What a content type may say of a body, which is read as UTF-8 all the same: JSON is nothing else."""


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    """The whole body. Raises RequestTooLarge as soon as it is known to be longer than ``bytes_max``, InvalidRequest."""
    charset = request.charset
    if charset and charset.lower() not in _CHARSETS:
        text = f"content-type: charset {quoted(charset)} is not supported; the body has to be UTF-8"
        raise InvalidRequest(text, details={"error_code": "unsupported_charset"})
    too_large = RequestTooLarge(f"Request body is larger than {bytes_max} bytes.")
    if request.content_length is not None and request.content_length > bytes_max:
        raise too_large
    body = bytearray()
    now_s = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(SILENCE_MAX_S) as silence:
            async for chunk in request.content.iter_any():
                silence.reschedule(now_s() + SILENCE_MAX_S)
                body += chunk
                if len(body) > bytes_max:
                    raise too_large
    except TimeoutError as error:
        raise body_stopped(SILENCE_MAX_S) from error
    except web.RequestPayloadError as error:
        raise InvalidRequest("The request body could not be read.") from error
    return bytes(body)


def body_stopped(silence_s: float) -> InvalidRequest:
    """The refusal of a body that did not go on for that long."""
    text = f"The request body stopped for more than {silence_s:g} s."
    return InvalidRequest(text, details={"error_code": "request_body_timeout"})
