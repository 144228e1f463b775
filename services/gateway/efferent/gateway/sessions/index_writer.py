"""The thread that writes the projection's file: several records in one transaction while there is a load."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from efferent.gateway.sessions.event_index import EventIndex, is_damage
from efferent.gateway.sessions.projected import Changes

RETRY_S: Final = 1.0
"""Pause before a transaction is tried again that the disk refused."""

MANY_RECORDS: Final = 500
"""A transaction of so many records says that the log is being made up for, or that the load is high."""
PAUSE_PER_RECORD_S: Final = 0.0002
"""How long the next transaction then gathers, for each record of the last one."""
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
        self._wanted: int | None = None
        self._is_closed = False
        self._gather_s = delay_s

    def add(self, changes: Changes) -> None:
        """Write this soon, together with what else comes until then."""
        with self._changed:
            is_first = self._waiting is None
            if self._waiting is None:
                self._waiting = changes
            else:
                self._waiting.merge(changes)
            if is_first or self._is_wanted():
                self._changed.notify()

    def hurry(self, sequence: int = 0) -> None:
        """Somebody waits for this sequence: write what waits as soon as it is there; without one, now."""
        with self._changed:
            self._wanted = max(self._wanted or 0, sequence)
            if self._is_wanted():
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
            self._changed.wait_for(lambda: self._is_wanted() or self._is_closed, self._gather_s)
            if self._is_wanted():
                self._wanted = None
            changes, self._waiting = self._waiting, None
            records = changes.records if changes is not None else 0
            pause_s = min(records * PAUSE_PER_RECORD_S, PAUSE_MAX_S) if records >= MANY_RECORDS else 0.0
            self._gather_s = max(self._delay_s, pause_s)
            return changes

    def _is_wanted(self) -> bool:
        """Whether somebody waits for what waits to be written, and for nothing that is still to come."""
        return self._wanted is not None and self._waiting is not None and self._waiting.applied >= self._wanted
