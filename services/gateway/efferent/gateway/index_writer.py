"""The thread that writes the projection's file: several records in one transaction while there is a load."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from efferent.gateway.event_index import EventIndex, is_damage
from efferent.gateway.projected import Changes

RETRY_S: Final = 1.0
"""Pause before a transaction is tried again that the disk refused."""

MANY_RECORDS: Final = 500
"""A transaction of so many records says that the log is being made up for, or that the load is high."""
PAUSE_PER_RECORD_S: Final = 0.0002
"""How long the next transaction then gathers, for each record of the last one, also when somebody waits."""
PAUSE_MAX_S: Final = 0.25
"""The most that a transaction gathers so: a session's row is written once for all of its records in it."""

_log = logging.getLogger(__name__)


class IndexWriter(threading.Thread):
    """Writes what waits, one transaction at a time; keeps trying while the disk refuses."""

    def __init__(
        self,
        index: EventIndex,
        delay_s: float,
        wrote: Callable[[Changes], object],
        damaged: Callable[[sqlite3.Error], object],
    ) -> None:
        super().__init__(name="session-index-writer", daemon=True)
        self._index = index
        self._delay_s = delay_s
        self._wrote = wrote
        self._damaged = damaged
        self._changed = threading.Condition()
        self._waiting: Changes | None = None
        self._is_urgent = False
        self._is_closed = False
        self._pause_s = 0.0

    def add(self, changes: Changes) -> None:
        """Write this soon, together with what else comes until then."""
        with self._changed:
            if self._waiting is None:
                self._waiting = changes
                self._changed.notify()
            else:
                self._waiting.merge(changes)

    def hurry(self) -> None:
        """Somebody waits: write what waits now."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self.join()

    def run(self) -> None:
        while (changes := self._take()) is not None:
            while True:
                try:
                    self._index.write(changes)
                    break
                except sqlite3.Error as error:
                    _log.error("session index: cannot write: %s", error)
                    if is_damage(error):
                        self._damaged(error)
                        return
                    with self._changed:
                        if self._changed.wait_for(lambda: self._is_closed, RETRY_S):
                            return
            self._wrote(changes)

    def _take(self) -> Changes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            if self._pause_s:
                self._changed.wait_for(lambda: self._is_closed, self._pause_s)
            if not self._is_closed:
                self._changed.wait_for(lambda: self._is_urgent or self._is_closed, self._delay_s)
            changes, self._waiting, self._is_urgent = self._waiting, None, False
            records = changes.records if changes is not None else 0
            self._pause_s = min(records * PAUSE_PER_RECORD_S, PAUSE_MAX_S) if records >= MANY_RECORDS else 0.0
            return changes
