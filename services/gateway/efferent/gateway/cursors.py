"""Page cursors: opaque to clients, bound to what they page through, and checked before they are believed.

A cursor is the position of the last item that was given, with the list's kind, workspace and order. It holds nothing
secret; the checksum tells a cursor that this server made from a damaged or invented one.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from efferent.common.domain.ids import WorkspaceId
from efferent.gateway.errors import InvalidRequest

Order = Literal["asc", "desc"]
Direction = Literal["next", "prev"]

INVALID_TEXT: Final = "invalid page cursor"
OTHER_ORDER_TEXT: Final = "page token order does not match request"

_PREFIX: Final = "page_"
_CHECKSUM_BYTES: Final = 9
_LENGTH_MAX: Final = 4_096
"""A position may be a path of 1,024 bytes."""
_PERSON: Final = b"efferent-page-1"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list."""

    position: tuple[str | int, ...]
    """What the list sorts by, of the item next to the cut."""
    direction: Direction = "next"


def write(cursor: Cursor, *, kind: str, workspace_id: WorkspaceId, order: Order) -> str:
    """The cursor as clients get it."""
    payload = orjson.dumps([kind, workspace_id, order, cursor.direction, cursor.position])
    return _PREFIX + base64.urlsafe_b64encode(_checksum(payload) + payload).decode().rstrip("=")


def read(text: str, *, kind: str, workspace_id: WorkspaceId, order: Order, width: int) -> Cursor:
    """The place that a client's cursor means; ``width`` is how many parts a position of this list has.

    Raises InvalidRequest when it was not made by this server for this list, or was made for the other order.
    """
    fields = _fields(text)
    match fields:
        case [of_kind, of_workspace, of_order, "next" | "prev" as direction, [*position]] if (
            of_kind == kind and of_workspace == workspace_id and len(position) == width
        ):
            if of_order != order:
                raise InvalidRequest(OTHER_ORDER_TEXT)
            return Cursor(tuple(position), direction)
        case _:
            raise InvalidRequest(INVALID_TEXT)


def _fields(text: str) -> Any:
    if not text.startswith(_PREFIX) or len(text) > _LENGTH_MAX:
        raise InvalidRequest(INVALID_TEXT)
    body = text.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        checksum, payload = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if checksum != _checksum(payload):
            raise InvalidRequest(INVALID_TEXT)
        return orjson.loads(payload)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(INVALID_TEXT) from error


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES, person=_PERSON).digest()
