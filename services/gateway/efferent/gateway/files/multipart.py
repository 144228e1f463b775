"""Bodies of type multipart/form-data, read part by part and never whole: each part's reader says how much it takes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http_exceptions import BadHttpMessage

from efferent.gateway.errors import InvalidRequest, RequestTooLarge
from efferent.gateway.request_body import SILENCE_MAX_S, body_stopped

CHUNK_BYTES: Final = 64 * 1024
PARTS_MAX: Final = 10_000
FIELD_BYTES_MAX: Final = 64 * 1024
"""Longest plain text field."""
NOT_MULTIPART_TEXT: Final = "Failed to parse request: the request body must be multipart/form-data"

_TRANSFER_ENCODINGS: Final = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field of a form. It must be read before the next one is asked for."""

    name: str
    filename: str | None
    """None: a plain field."""
    content_type: str | None
    _reader: BodyPartReader

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Its bytes as they come. Raises InvalidRequest when the client stops in the middle."""
        while True:
            async with _readable():
                chunk = await self._reader.read_chunk(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    async def data(self, bytes_max: int) -> bytes:
        """All its bytes. Raises RequestTooLarge, InvalidRequest."""
        data = bytearray()
        async for chunk in self.chunks():
            data += chunk
            if len(data) > bytes_max:
                raise RequestTooLarge(f"{self.name}: larger than {bytes_max} bytes")
        return bytes(data)

    async def text(self) -> str:
        """A plain field's value. Raises RequestTooLarge, InvalidRequest."""
        data = await self.data(FIELD_BYTES_MAX)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self.name}: not UTF-8") from error


async def form_parts(request: web.Request) -> AsyncIterator[FormPart]:
    """The fields of the request's body in order. Raises InvalidRequest."""
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(NOT_MULTIPART_TEXT)
    async with _readable():
        reader = MultipartReader(request.headers, request.content)
    for _ in range(PARTS_MAX):
        async with _readable():
            part = await reader.next()
        if part is None:
            return
        yield _form_part(part)
    raise InvalidRequest(f"Failed to parse request: the form has more than {PARTS_MAX} parts")


def _form_part(part: MultipartReader | BodyPartReader) -> FormPart:
    if not isinstance(part, BodyPartReader):
        raise InvalidRequest("Failed to parse request: a multipart body inside a multipart body is not supported")
    name = part.name
    if not name:
        raise InvalidRequest("Failed to parse request: a part of the form has no name")
    if part.headers.get("Content-Transfer-Encoding", "").lower() not in _TRANSFER_ENCODINGS:
        raise InvalidRequest(f"Failed to parse request: {name[:100]}: Content-Transfer-Encoding must be binary")
    return FormPart(name, part.filename, part.headers.get("Content-Type"), part)


@asynccontextmanager
async def _readable() -> AsyncIterator[None]:
    """Around each step of reading: what goes wrong there is the client's doing."""
    try:
        async with asyncio.timeout(SILENCE_MAX_S):
            yield
    except TimeoutError as error:
        raise body_stopped(SILENCE_MAX_S) from error
    except (web.RequestPayloadError, ClientPayloadError, ConnectionError, asyncio.IncompleteReadError) as error:
        raise InvalidRequest("The request body could not be read to its end.") from error
    except (ValueError, AssertionError, RuntimeError, LookupError, BadHttpMessage) as error:
        raise InvalidRequest("Failed to parse request: the multipart body is not well-formed") from error
