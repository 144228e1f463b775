"""Answers made of JSON that is written already: resources and events are dumped once, by their own models."""

from collections.abc import Sequence

import orjson
from aiohttp import web
from pydantic import BaseModel


def json_resource(resource: BaseModel) -> web.Response:
    """One resource."""
    return json_bytes(resource.model_dump_json().encode())


def json_bytes(body: bytes) -> web.Response:
    """A body that is JSON already."""
    return web.Response(body=body, content_type="application/json")


def json_page(items: Sequence[bytes], **cursors: str | None) -> web.Response:
    """A page of items that are JSON already, with its cursors."""
    rest = b"".join(b",%b:%b" % (orjson.dumps(name), orjson.dumps(cursor)) for name, cursor in cursors.items())
    return json_bytes(b'{"data":[%b]%b}' % (b",".join(items), rest))
