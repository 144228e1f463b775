"""The log of the control plane on JetStream: raw payloads under subjects, fenced like sessions."""

import hashlib
from collections.abc import AsyncGenerator

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.appending import Append, Appender
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import PAGE_RECORDS, StreamReader
from efferent.common.ports import LogUnavailable, RawRecord


class JetStreamControlLog:
    """Stream ``CONTROL``; see the port ``ControlLog``."""

    def __init__(
        self, connection: Connection, *, page_records: int = PAGE_RECORDS, deadline_s: float = api.DEADLINE_S
    ) -> None:
        self._connection = connection
        self._reader = StreamReader(connection, subjects.CONTROL, page_records=page_records, deadline_s=deadline_s)
        self._appender = Appender(connection, self._reader, deadline_s=deadline_s)

    async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
        """Append one payload; see the port.

        Safe to call again with the same arguments after LogUnavailable: the same bytes, decided on the same state, are
        the same fact.
        """
        fence = fence or subject
        message_id = _message_id(subject, payload, fence, expected)
        return await self._appender.append(Append(subject, payload, message_id, fence, expected))

    async def last(self, subject: str) -> RawRecord | None:
        """The newest record of the subject, or of all that a pattern matches. Raises LogUnavailable."""
        newest = await self._reader.last(subject)
        return newest.raw if newest is not None else None

    async def next(self, subject: str, *, after: int) -> RawRecord | None:
        """The first record of exactly this subject after a sequence. Raises LogUnavailable."""
        following = await self._reader.next(subject, after=after)
        return following.raw if following is not None else None

    async def read(self, pattern: str, *, after: int = 0) -> AsyncGenerator[RawRecord]:
        """All records whose subject matches, in order, up to now. Raises LogUnavailable."""
        async for page in self._reader.pages(pattern, after=after, reach=None):
            for raw in page:
                yield raw

    async def erase(self, sequence: int) -> None:
        """Overwrite one record and remove it; see the port. Raises LogUnavailable."""
        try:
            question = {"seq": sequence, "no_erase": False}
            await api.call(self._connection, f"STREAM.MSG.DELETE.{subjects.CONTROL}", question)
        except api.ApiError as error:
            if not error.is_gone:  # what is gone already cannot be deleted
                raise LogUnavailable(str(error)) from error

    async def last_sequence(self) -> int:
        """Sequence of the newest record of the whole stream; 0 when it is empty. Raises LogUnavailable."""
        return await self._reader.last_sequence(subjects.all_of(subjects.CONTROL))


def _message_id(subject: str, payload: bytes, fence: str, expected: int) -> str:
    head = f"{subject}\x1f{fence}\x1f{expected}\x1f".encode()
    return hashlib.sha256(head + payload).hexdigest()[:40]
