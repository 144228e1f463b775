"""The projection's SQLite file: one table shape for all kinds of resources, and what is asked of it.

Everything here blocks and is called in a thread. The file is a cache of the log: whatever is odd about it, it is
deleted and built again. ``applied`` is written in the transaction that applies.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.cursors import Order

SCHEMA_VERSION: Final = 1
"""Goes up with every change of the tables or of what is written into them."""

_BUSY_TIMEOUT_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE resources (
    kind TEXT NOT NULL, id TEXT NOT NULL, workspace_id TEXT NOT NULL, created_at TEXT NOT NULL, archived_at TEXT,
    version INTEGER NOT NULL, name TEXT, sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX resources_in_order ON resources (kind, workspace_id, created_at, id);
CREATE INDEX resources_by_name ON resources (kind, workspace_id, name) WHERE archived_at IS NULL AND name IS NOT NULL;
CREATE TABLE versions (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id, version)
) WITHOUT ROWID;
CREATE TABLE sets (
    kind TEXT NOT NULL, workspace_id TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (kind, workspace_id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One record as the tables keep it."""

    kind: str
    id: str
    workspace_id: WorkspaceId
    created_at: Timestamp
    archived_at: Timestamp | None
    version: int
    name: str | None
    sequence: int
    body: bytes
    deleted: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What the file was made from, and how far it has come."""

    stream: str | None
    """Identity of the stream; None: nothing has been applied."""
    sequence: int
    unreadable: int
    """Records that were passed over because their shape is not known."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a list asks for; ``after`` is the (created_at, id) that the page starts behind."""

    kind: str
    workspace_id: WorkspaceId
    limit: int
    order: Order = "desc"
    after: tuple[str, str] | None = None
    include_archived: bool = False
    created_gt: Timestamp | None = None
    created_gte: Timestamp | None = None
    created_lt: Timestamp | None = None
    created_lte: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One resource of a list: where it stands, and the resource as clients get it."""

    created_at: str
    id: str
    body: bytes


class Unusable(Exception):
    """The file is missing, damaged or of another version: build it again."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file, making it afresh when it is missing, damaged or of another version."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return _open_existing(path)
    except (Unusable, sqlite3.DatabaseError):
        return create(path)


def create(path: Path) -> sqlite3.Connection:
    """Make an empty file in the place of whatever is there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    connection = _connect(path)
    with connection:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A second connection that only reads."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_existing(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise Unusable
    connection = _connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if version != SCHEMA_VERSION or verdict != "ok":
            raise Unusable
    except BaseException:
        connection.close()
        raise
    return connection


# --- writing ----------------------------------------------------------------------------------------------------------


def apply(connection: sqlite3.Connection, rows: Sequence[Row], *, stream: str, sequence: int, unreadable: int) -> None:
    """Take in records in order, and with them how far the projection has come."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for row in rows:
            _apply_row(connection, row)
        connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)",
            (("stream", stream), ("sequence", sequence), ("unreadable", unreadable)),
        )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _apply_row(connection: sqlite3.Connection, row: Row) -> None:
    connection.execute("INSERT OR REPLACE INTO sets VALUES (?, ?, ?)", (row.kind, row.workspace_id, row.sequence))
    if row.deleted:
        connection.execute("DELETE FROM resources WHERE kind = ? AND id = ?", (row.kind, row.id))
        connection.execute("DELETE FROM versions WHERE kind = ? AND id = ?", (row.kind, row.id))
        return
    connection.execute(
        "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.kind,
            row.id,
            row.workspace_id,
            row.created_at,
            row.archived_at,
            row.version,
            row.name,
            row.sequence,
            row.body,
        ),
    )
    connection.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?)", (row.kind, row.id, row.version, row.body))


# --- reading ----------------------------------------------------------------------------------------------------------


def applied(connection: sqlite3.Connection) -> Applied:
    """How far the file has come."""
    found = dict(connection.execute("SELECT key, value FROM state"))
    return Applied(found.get("stream"), found.get("sequence", 0), found.get("unreadable", 0))


def list_resources(connection: sqlite3.Connection, query: ListQuery) -> list[Item]:
    """Up to ``limit`` resources in order."""
    conditions, values = ["kind = ?", "workspace_id = ?"], [query.kind, query.workspace_id]
    if not query.include_archived:
        conditions.append("archived_at IS NULL")
    for operator, bound in (
        (">", query.created_gt),
        (">=", query.created_gte),
        ("<", query.created_lt),
        ("<=", query.created_lte),
    ):
        if bound is not None:
            conditions.append(f"created_at {operator} ?")
            values.append(bound)
    if query.after is not None:
        conditions.append(f"(created_at, id) {'<' if query.order == 'desc' else '>'} (?, ?)")
        values += query.after
    direction = "DESC" if query.order == "desc" else "ASC"
    statement = (
        f"SELECT created_at, id, body FROM resources WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed parts only
        f"ORDER BY created_at {direction}, id {direction} LIMIT ?"
    )
    return [Item(*row) for row in connection.execute(statement, (*values, query.limit))]


def list_versions(
    connection: sqlite3.Connection, kind: str, identifier: str, *, below: int | None, limit: int
) -> list[tuple[int, bytes]]:
    """Up to ``limit`` versions of a resource, newest first, with numbers below ``below``."""
    statement = (
        "SELECT version, body FROM versions WHERE kind = ? AND id = ? AND (? IS NULL OR version < ?) "
        "ORDER BY version DESC LIMIT ?"
    )
    return list(connection.execute(statement, (kind, identifier, below, below, limit)))


def read_version(connection: sqlite3.Connection, kind: str, identifier: str, version: int) -> bytes | None:
    """One version; None when it was not seen."""
    found = connection.execute(
        "SELECT body FROM versions WHERE kind = ? AND id = ? AND version = ?", (kind, identifier, version)
    ).fetchone()
    return found[0] if found is not None else None


def holder_of_name(
    connection: sqlite3.Connection, kind: str, workspace_id: WorkspaceId, name: str
) -> tuple[str | None, int]:
    """Who has a name now (None: nobody), and the last sequence of the whole set that says so."""
    (sequence,) = connection.execute(
        "SELECT coalesce(max(sequence), 0) FROM sets WHERE kind = ? AND workspace_id = ?", (kind, workspace_id)
    ).fetchone()
    found = connection.execute(
        "SELECT id FROM resources WHERE kind = ? AND workspace_id = ? AND name = ? AND archived_at IS NULL",
        (kind, workspace_id, name),
    ).fetchone()
    return (found[0] if found is not None else None), sequence
