"""Wrapped keys of secrets on JetStream: stream ``KEYS``, the newest form of each key only, deleted ones overwritten."""

import hashlib
from collections.abc import Sequence
from typing import Final

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.appending import Append, Appender
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.ports import LogConflict, LogUnavailable, RawRecord

_TRIES_MAX: Final = 5


class JetStreamDataKeys:
    """See the port ``DataKeys``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reader = StreamReader(connection, subjects.KEYS)
        self._appender = Appender(connection, self._reader)

    async def put(self, owner: str, key_id: str, wrapped: bytes) -> None:
        """Keep a key unless there is one under this id already. Raises LogUnavailable."""
        try:
            await self._append(owner, key_id, wrapped, expected=0)
        except LogConflict:
            return

    async def replace(self, owner: str, key_id: str, wrapped: bytes) -> None:
        """Keep another form of a key that is still there. Raises LogUnavailable."""
        for _ in range(_TRIES_MAX):
            newest = await self._newest(owner, key_id)
            if newest is None:
                return
            try:
                await self._append(owner, key_id, wrapped, expected=newest.sequence)
            except LogConflict:
                continue
            return
        raise LogUnavailable("others keep replacing the key")

    async def get(self, owner: str, key_id: str) -> bytes | None:
        """The key; None when there is none. Raises LogUnavailable."""
        newest = await self._newest(owner, key_id)
        return newest.payload if newest is not None else None

    async def ids(self, owner: str) -> Sequence[str]:
        """The ids of an owner's keys. Raises LogUnavailable."""
        return [key_id for _, key_id in await self._all(subjects.data_keys_of(owner))]

    async def owners(self) -> Sequence[str]:
        """Everybody who has keys. Raises LogUnavailable."""
        return sorted({owner for owner, _ in await self._all(subjects.all_of(subjects.KEYS))})

    async def delete(self, owner: str, key_id: str) -> None:
        """Overwrite a key with noise and forget it. Raises LogUnavailable."""
        for _ in range(_TRIES_MAX):
            newest = await self._newest(owner, key_id)
            if newest is None:
                return
            try:
                question = {"seq": newest.sequence, "no_erase": False}
                await api.call(self._connection, f"STREAM.MSG.DELETE.{subjects.KEYS}", question)
            except api.ApiError as error:
                if not error.is_gone:
                    raise LogUnavailable(str(error)) from error
        raise LogUnavailable("others keep replacing the key")

    async def _newest(self, owner: str, key_id: str) -> RawRecord | None:
        newest = await self._reader.last(subjects.data_key(owner, key_id))
        return newest.raw if newest is not None else None

    async def _append(self, owner: str, key_id: str, wrapped: bytes, *, expected: int) -> None:
        subject = subjects.data_key(owner, key_id)
        message_id = hashlib.sha256(subject.encode() + b"\x1f" + wrapped).hexdigest()[:40]
        await self._appender.append(Append(subject, wrapped, message_id, subject, expected))

    async def _all(self, pattern: str) -> list[tuple[str, str]]:
        found = []
        async for page in self._reader.pages(pattern, after=0, reach=None):
            found += [subjects.parse_data_key(raw.subject) for raw in page]
        return found
