"""How the projections' SQLite files are opened and deleted. They are caches of the log: made anew when they are odd."""

import sqlite3
from pathlib import Path
from typing import Final, Literal

BUSY_TIMEOUT_S: Final = 5.0
PAGE_BYTES: Final = 16_384
"""Rows are long: the states of sessions, the bodies of resources."""
CHECKPOINT_PAGES: Final = 2_500
"""Pages that the write-ahead log gathers (40 MB) before they are copied: building the file anew copies few twice."""
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


def connect(path: Path, *, isolation_level: Literal["DEFERRED"] | None) -> sqlite3.Connection:
    """Open the file or make it; the connection may be used by one thread at a time. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=isolation_level)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # No fsync at commits: what a power cut takes is taken from the log again.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def delete(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it. Nobody may have it open."""
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
