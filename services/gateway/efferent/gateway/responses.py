"""Answers made of JSON that is written already: resources and events are dumped once, by their own models."""

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel

from efferent.common.domain.control.aggregate import Kind


def json_resource(resource: BaseModel) -> web.Response:
    """One resource."""
    return json_bytes(resource.model_dump_json().encode())


def json_shown[R: Any](kind: Kind[R], data: R) -> web.Response:
    """One resource of the control plane as clients get it."""
    return json_bytes(kind.shown(data))


def json_deleted(kind: Kind[Any], identifier: str) -> web.Response:
    """What the API answers when a resource is gone."""
    return json_bytes(orjson.dumps({"id": identifier, "type": f"{kind.name}_deleted"}))


def json_bytes(body: bytes) -> web.Response:
    """A body that is JSON already."""
    return web.Response(body=body, content_type="application/json")


def json_page(items: Sequence[bytes], **cursors: str | bool | None) -> web.Response:
    """A page of items that are JSON already, with its cursors."""
    rest = b"".join(b",%b:%b" % (orjson.dumps(name), orjson.dumps(cursor)) for name, cursor in cursors.items())
    return json_bytes(b'{"data":[%b]%b}' % (b",".join(items), rest))
