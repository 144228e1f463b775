"""The one place where records become bytes and bytes become records.

Reading is tolerant of older versions here and nowhere else: each version has its upcaster, and the domain sees only
current shapes. A payload over ``RECORD_BYTES_MAX`` is put in the blob store and the record holds its key (claim check);
that is done by the log adapters with ``claim`` and ``claimed_key``.
"""

from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record
from efferent.common.ports import LogUnreadable

VERSION: Final = 1
RECORD_BYTES_MAX: Final = 256 * 1024

_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Record)


def encode(record: Record) -> bytes:
    """Write a record as its current version."""
    return b'{"v":%d,' % VERSION + _RECORD.dump_json(record)[1:]


def decode(payload: bytes) -> Record:
    """Read a record of any known version. Raises LogUnreadable."""
    try:
        raw: dict[str, Any] = orjson.loads(payload)
        version = raw.pop("v")
        if version != VERSION:
            raise LogUnreadable(f"a record of version {version}; this release knows {VERSION}")
        return _RECORD.validate_python(raw)
    except (orjson.JSONDecodeError, ValidationError, KeyError) as error:
        raise LogUnreadable(str(error)) from error


def claim(session_id: SessionId, record: Record) -> tuple[str, bytes]:
    """Blob key for a record that is too large, and the payload that stands for it in the stream."""
    key = f"{session_id}/records/{record.id}"
    return key, orjson.dumps({"v": VERSION, "blob": key, "id": record.id})


def claimed_key(payload: bytes) -> str | None:
    """The blob key when the payload only stands for a record that is kept as a blob."""
    if len(payload) > 512 or b'"blob":' not in payload:
        return None
    raw = orjson.loads(payload)
    return raw["blob"] if isinstance(raw, dict) and "blob" in raw else None
