"""``/openapi.json``: what this gateway answers to, for tools and people; without a key.

The document is generated from the routes (tools/generate_openapi.py) and shipped with them.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

FILE: Final = Path(__file__).parent.parent / "openapi.json"


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [web.get("/openapi.json", document)]


async def document(request: web.Request) -> web.Response:
    """The document; 304 for who has it already."""
    body, tag = _document()
    if any(known.value == tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers={"ETag": f'"{tag}"'})
    response = web.Response(body=body, content_type="application/json", headers={"ETag": f'"{tag}"'})
    response.enable_compression()
    return response


@cache
def _document() -> tuple[bytes, str]:
    body = FILE.read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:16]
