"""Answers that are bytes of a blob, streamed. A browser that is led to one never runs it."""

from collections.abc import AsyncGenerator
from urllib.parse import quote

from aiohttp import web

from efferent.gateway.errors import NotFound


async def send_blob(
    request: web.Request,
    chunks: AsyncGenerator[bytes],
    *,
    filename: str,
    media_type: str,
    size_bytes: int,
    missing: NotFound,
) -> web.StreamResponse:
    """Stream a blob as an attachment. Raises ``missing`` when it was deleted meanwhile, BlobsUnavailable."""
    try:
        first = await anext(chunks, b"")
    except KeyError as error:
        raise missing from error
    response = web.StreamResponse(
        headers={
            "Content-Type": media_type,
            "Content-Length": str(size_bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        }
    )
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        await response.write_eof()
    except ConnectionError:  # the client went away: nobody is left to be told
        response.force_close()
    finally:
        await chunks.aclose()
    return response
