"""Leases on JetStream: one holder at a time over all services and replicas, given up by itself when the holder dies.

A lease is a message with a time to live in stream ``LEASES``, in memory: it is about who works on something now, never
about what is true.
"""

import logging

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.appending import Append, Appender, own_message_id
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.ports import LogConflict, LogUnavailable

_log = logging.getLogger(__name__)


class JetStreamLeases:
    """See the port ``Leases``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._appender = Appender(connection, StreamReader(connection, subjects.LEASES))

    async def take(self, name: str, holder: str, *, ttl_s: int) -> int | None:
        """Take the lease for this many seconds; None when somebody has it. Raises LogUnavailable."""
        subject = subjects.lease(name)
        try:
            return await self._appender.append(Append(subject, holder.encode(), own_message_id(), subject, 0, ttl_s))
        except LogConflict:
            return None

    async def give_up(self, ticket: int) -> None:
        """End a lease that ``take`` gave; one that ended by itself is left alone. Never raises."""
        try:
            await api.call(self._connection, f"STREAM.MSG.DELETE.{subjects.LEASES}", {"seq": ticket, "no_erase": True})
        except api.ApiError as error:
            if not error.is_gone:
                _log.warning("a lease was not given up and ends by itself", exc_info=error)
        except LogUnavailable as error:
            _log.warning("a lease was not given up and ends by itself", exc_info=error)
