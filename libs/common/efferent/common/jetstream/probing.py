"""Whether a stream takes appends, found out without writing: by one whose fence never holds.

A stream that works refuses it. One that is missing, has no leader or is not reached does not answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from efferent.common.jetstream import subjects
from efferent.common.jetstream.appending import Append, Appender
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.ports import LogConflict, LogUnavailable

WITHIN_S: Final = 2.0
"""How long a stream may take to refuse."""

_NEVER_REACHED: Final = 2**53


async def unwilling_streams(connection: Connection, *, within_s: float = WITHIN_S) -> Sequence[subjects.Stream]:
    """The streams of ``subjects.PROBES`` that take no appends now."""
    streams = list(subjects.PROBES)
    takes = await asyncio.gather(*(_takes_appends(connection, stream, within_s) for stream in streams))
    return [stream for stream, does in zip(streams, takes, strict=True) if not does]


async def _takes_appends(connection: Connection, stream: subjects.Stream, within_s: float) -> bool:
    appender = Appender(connection, StreamReader(connection, stream, deadline_s=within_s), deadline_s=within_s)
    subject = subjects.PROBES[stream]
    try:
        await appender.append(Append(subject, b"", "probe", subject, _NEVER_REACHED))
    except LogConflict:
        return True
    except LogUnavailable:
        return False
    return True
