"""Fenced appends: one message, written only when nothing else was. Shared by the session log and the control log.

The server checks the fence before it looks for duplicates, so an append whose acknowledgement was lost and that is sent
again is answered with a conflict. Therefore each conflict first asks what was appended right after the expected
sequence: if that is this very message, it was written.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final

from efferent.common.jetstream import api
from efferent.common.jetstream.connection import Connection, Message, RequestFailed
from efferent.common.jetstream.reading import EXPECTED_HEADER, FENCE_HEADER, ID_HEADER, StreamReader
from efferent.common.ports import LogConflict, LogUnavailable

_WRONG_LAST_SEQUENCE: Final = 10071
_APPEND_IN_FLIGHT: Final = 10164
"""In a cluster: another append to the fence is on its way; whether it succeeds is not yet known."""

_FULL: Final = frozenset({10023, 10028, 10047, 10077, 10109})
"""Out of resources, memory, storage; the store failed; message or byte limits."""

_TTL_HEADER: Final = "Nats-TTL"
_LAST_IN_DESCRIPTION: Final = re.compile(r"(\d+)\s*$")


@dataclass(frozen=True, slots=True)
class Append:
    """One message and the state that it was decided on."""

    subject: str
    payload: bytes
    message_id: str
    fence: str
    """Pattern whose last sequence must be ``expected``; it matches ``subject``."""
    expected: int
    ttl_s: int | None = None
    """Seconds after which the message is removed, in streams that allow it; None: never."""


def own_message_id() -> str:
    """An id that no other append has, for changes that count how many writers made them.

    Two writers that decide the same on the same state (one more delivery given up, a first heartbeat) write equal
    bytes; with an id made from the bytes each would take the other's message for its own.
    """
    return secrets.token_hex(16)


class Appender:
    """Appends to one stream."""

    def __init__(self, connection: Connection, reader: StreamReader, *, deadline_s: float = api.DEADLINE_S) -> None:
        self._connection = connection
        self._reader = reader
        self._deadline_s = deadline_s

    async def append(self, append: Append) -> int:
        """Write and return the sequence. Safe to repeat. Raises LogConflict, LogUnavailable."""
        headers = {
            EXPECTED_HEADER: str(append.expected),
            FENCE_HEADER: append.fence,
            ID_HEADER: append.message_id,
        }
        if append.ttl_s is not None:
            headers[_TTL_HEADER] = f"{append.ttl_s}s"
        deadline = api.Deadline.after(self._deadline_s)
        while True:
            try:
                timeout_s = min(api.ANSWER_TIMEOUT_S, max(deadline.left_s, 0))
                answer = await self._connection.request(
                    append.subject, append.payload, headers=headers, timeout_s=timeout_s
                )
                return _sequence(answer)
            except RequestFailed as error:
                await deadline.pause(self._connection, error)
            except api.ApiError as error:
                if error.error == _WRONG_LAST_SEQUENCE:
                    return await self._own_or_conflict(append, error)
                if error.error in _FULL or not (error.is_passing or error.error == _APPEND_IN_FLIGHT):
                    raise LogUnavailable(str(error)) from error
                await deadline.pause(self._connection, error)

    async def _own_or_conflict(self, append: Append, error: api.ApiError) -> int:
        first = await self._reader.next(append.fence, after=append.expected)
        if first is not None and first.message_id == append.message_id:
            return first.raw.sequence
        raise LogConflict(max(_last_named(error), first.raw.sequence if first is not None else 0)) from error


def _last_named(error: api.ApiError) -> int:
    match = _LAST_IN_DESCRIPTION.search(error.description)
    return int(match[1]) if match else 0


def _sequence(answer: Message) -> int:
    sequence: int = api.parse_answer(answer.data)["seq"]
    return sequence
