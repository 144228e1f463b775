"""Holds back the event that wakes workers until the work that they are to find can be polled."""

from typing import Final

from efferent.automation.reactor import Later
from efferent.common.domain import timestamp
from efferent.common.domain.ids import EnvironmentId, SessionId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream.work_log import JetStreamWorkLog
from efferent.common.ports import Clock

AGAIN_S: Final = 0.1
WAIT_MAX_S: Final = 10.0
"""A run that began this long ago and needs no worker is reported all the same."""


class LoggedWork:
    """See ``emission.WorkReadiness``."""

    def __init__(self, log: JetStreamWorkLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def check(self, environment_id: EnvironmentId, session_id: SessionId, since: Timestamp) -> None:
        """Return when the session has a work item that is live, or was after ``since``. Raises Later, LogError."""
        now = timestamp.from_epoch_us(self._clock.now_us())
        if timestamp.seconds_between(since, now) >= WAIT_MAX_S:
            return
        for stored in await self._log.of_session(environment_id, session_id):
            stopped_at = stored.item.stopped_at
            if stopped_at is None or stopped_at >= since:
                return
        raise Later(AGAIN_S, "the session has no work item yet")
