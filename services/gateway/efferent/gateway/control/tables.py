"""The projection's SQLite file: one table shape for all kinds of resources, and what is asked of it.

Everything here blocks and is called in a thread. The file is a cache of the log: whatever is odd about it, it is
deleted and built again. ``applied`` is written in the transaction that applies.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from efferent.common.domain.control.aggregate import SetFacts
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway import sqlite_file
from efferent.gateway.cursors import Order

SCHEMA_VERSION: Final = 5
"""Goes up with every change of the tables or of what is written into them."""

# Rows with bodies are long: ``WITHOUT ROWID`` would make writing them three times as dear. What is asked of a whole set
# is answered from its index alone.
_SCHEMA: Final = """
CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE resources (
    kind TEXT NOT NULL, id TEXT NOT NULL, workspace_id TEXT NOT NULL, set_id TEXT, parent TEXT,
    created_at TEXT NOT NULL, archived_at TEXT, version INTEGER NOT NULL, name TEXT, facets TEXT NOT NULL,
    sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX resources_in_order ON resources (kind, workspace_id, created_at, id);
CREATE INDEX resources_of_parent ON resources (kind, parent, created_at, id) WHERE parent IS NOT NULL;
CREATE INDEX resources_in_set ON resources (set_id, kind, archived_at, name, id) WHERE set_id IS NOT NULL;
CREATE TABLE versions (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id, version)
);
CREATE TABLE sets (
    family TEXT NOT NULL, set_id TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (family, set_id)
) WITHOUT ROWID;
"""


class Row(NamedTuple):
    """One record as the tables keep it."""

    kind: str
    id: str
    workspace_id: WorkspaceId
    set_id: str | None
    """The set that its subject names."""
    is_set: bool
    """Whether the set is its own: then its children go when it goes."""
    parent: str | None
    created_at: Timestamp
    archived_at: Timestamp | None
    version: int
    keeps_versions: bool
    name: str | None
    facets: Mapping[str, str]
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
    """What a list asks for; ``after`` is the (sort key, id) that the page starts behind."""

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
    parent: str | None = None
    """Only those of this parent."""
    facets: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """Only those whose facet has this value, or one of these."""
    ids: Sequence[str] | None = None
    """Only these."""
    sort: str = "created_at"
    """What the order is by: when they were made, or one of the kind's facets."""


@dataclass(frozen=True, slots=True)
class Item:
    """One resource of a list: where it stands, and the resource as clients get it."""

    key: str
    """What the list is sorted by."""
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
    sqlite_file.delete(path)
    connection = sqlite_file.connect(path, isolation_level=None)
    with connection:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A second connection that only reads."""
    connection = sqlite_file.connect(path, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _open_existing(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise Unusable
    connection = sqlite_file.connect(path, isolation_level=None)
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


def apply(
    connection: sqlite3.Connection,
    rows: Sequence[Row],
    *,
    sets: Mapping[tuple[str, str], int],
    stream: str,
    sequence: int,
    unreadable: int,
) -> None:
    """Take in records in order, and with them how far the projection and each set (family and id) has come."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply_rows(connection, rows)
        connection.executemany(
            "INSERT OR REPLACE INTO sets VALUES (?, ?, ?)", [(*key, last) for key, last in sets.items()]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)",
            (("stream", stream), ("sequence", sequence), ("unreadable", unreadable)),
        )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _apply_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Only the last row of a resource is written; what comes before a deletion is written before it."""
    newest: dict[tuple[str, str], Row] = {}
    versions: list[Row] = []
    for row in rows:
        if row.deleted:
            _write(connection, newest.values(), versions)
            newest, versions = {}, []
            _delete(connection, row)
            continue
        newest[row.kind, row.id] = row
        if row.keeps_versions:
            versions.append(row)
    _write(connection, newest.values(), versions)


def _write(connection: sqlite3.Connection, newest: Iterable[Row], versions: Iterable[Row]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                row.kind,
                row.id,
                row.workspace_id,
                row.set_id,
                row.parent,
                row.created_at,
                row.archived_at,
                row.version,
                row.name,
                orjson.dumps(row.facets).decode(),
                row.sequence,
                row.body,
            )
            for row in newest
        ],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?)",
        [(row.kind, row.id, row.version, row.body) for row in versions],
    )


def _delete(connection: sqlite3.Connection, row: Row) -> None:
    if row.is_set:
        connection.execute("DELETE FROM resources WHERE set_id = ?", (row.set_id,))
    connection.execute("DELETE FROM resources WHERE kind = ? AND id = ?", (row.kind, row.id))
    if row.keeps_versions:
        connection.execute("DELETE FROM versions WHERE kind = ? AND id = ?", (row.kind, row.id))


# --- reading ----------------------------------------------------------------------------------------------------------


def applied(connection: sqlite3.Connection) -> Applied:
    """How far the file has come."""
    found = dict(connection.execute("SELECT key, value FROM state"))
    return Applied(found.get("stream"), found.get("sequence", 0), found.get("unreadable", 0))


def list_resources(connection: sqlite3.Connection, query: ListQuery) -> list[Item]:
    """Up to ``limit`` resources in order."""
    conditions: list[str] = ["kind = ?", "workspace_id = ?"]
    values: list[str | int] = [query.kind, query.workspace_id]
    if query.parent is not None:
        conditions.append("parent = ?")
        values.append(query.parent)
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
    for name, wanted in query.facets.items():
        options = [wanted] if isinstance(wanted, str) else list(wanted)
        conditions.append(f"facets ->> ? IN ({', '.join('?' * len(options))})")
        values += [name, *options]
    if query.ids is not None:
        conditions.append(f"id IN ({', '.join('?' * len(query.ids))})")
        values += query.ids
    key, key_values = ("created_at", []) if query.sort == "created_at" else ("coalesce(facets ->> ?, '')", [query.sort])
    if query.after is not None:
        conditions.append(f"({key}, id) {'<' if query.order == 'desc' else '>'} (?, ?)")
        values += [*key_values, *query.after]
    direction = "DESC" if query.order == "desc" else "ASC"
    statement = (
        f"SELECT {key}, id, body FROM resources WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed parts only
        f"ORDER BY 1 {direction}, id {direction} LIMIT ?"
    )
    return [Item(*row) for row in connection.execute(statement, (*key_values, *values, query.limit))]


def read_resource(
    connection: sqlite3.Connection, kind: str, workspace_id: WorkspaceId, identifier: str
) -> tuple[str | None, bytes] | None:
    """The parent and the body of one resource of the workspace; None when there is none."""
    found = connection.execute(
        "SELECT parent, body FROM resources WHERE kind = ? AND id = ? AND workspace_id = ?",
        (kind, identifier, workspace_id),
    ).fetchone()
    return (found[0], found[1]) if found is not None else None


def list_versions(
    connection: sqlite3.Connection, kind: str, identifier: str, *, below: int | None, limit: int
) -> list[tuple[int, bytes]]:
    """Up to ``limit`` versions of a resource, newest first, with numbers below ``below``."""
    statement = (
        "SELECT version, body FROM versions WHERE kind = ? AND id = ? AND (? IS NULL OR version < ?) "
        "ORDER BY version DESC LIMIT ?"
    )
    return list(connection.execute(statement, (kind, identifier, below, below, limit)))


def sum_of_facet(connection: sqlite3.Connection, kind: str, workspace_id: WorkspaceId, facet: str) -> int:
    """What a facet that is a number adds up to over all resources of a kind in a workspace."""
    (total,) = connection.execute(
        "SELECT coalesce(sum(CAST(facets ->> ? AS INTEGER)), 0) FROM resources WHERE kind = ? AND workspace_id = ?",
        (facet, kind, workspace_id),
    ).fetchone()
    return int(total)


def newest_of_parents(
    connection: sqlite3.Connection, kind: str, parents: Sequence[str], facets: Mapping[str, str]
) -> dict[str, Timestamp]:
    """When the newest resource of a kind with these facets was made, for each of these parents that has one."""
    conditions = "".join(" AND facets ->> ? = ?" for _ in facets)
    statement = (
        f"SELECT created_at FROM resources WHERE kind = ? AND parent = ?{conditions} "  # noqa: S608 - fixed parts only
        "ORDER BY created_at DESC, id DESC LIMIT 1"
    )
    values = [part for facet in facets.items() for part in facet]
    found: dict[str, Timestamp] = {}
    for parent in parents:
        row = connection.execute(statement, (kind, parent, *values)).fetchone()
        if row is not None:
            found[parent] = Timestamp(row[0])
    return found


def set_facts(
    connection: sqlite3.Connection, *, family: str, kind: str, set_id: str, identifier: str, name: str | None
) -> tuple[SetFacts, int]:
    """What is known of a set but for one resource, and the sequence of the set's newest record that says so."""
    (sequence,) = connection.execute(
        "SELECT coalesce(max(sequence), 0) FROM sets WHERE family = ? AND set_id = ?", (family, set_id)
    ).fetchone()
    total, members = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE archived_at IS NULL) FROM resources "
        "WHERE kind = ? AND set_id = ? AND id <> ?",
        (kind, set_id, identifier),
    ).fetchone()
    holder = connection.execute(
        "SELECT id FROM resources WHERE kind = ? AND set_id = ? AND name = ? AND archived_at IS NULL AND id <> ?",
        (kind, set_id, name, identifier),
    ).fetchone()
    parent = connection.execute(
        "SELECT archived_at FROM resources WHERE set_id = ? AND id = ?", (set_id, set_id)
    ).fetchone()
    return SetFacts(
        holder=holder[0] if holder is not None else None,
        members=members,
        total=total,
        parent="missing" if parent is None else "active" if parent[0] is None else "archived",
    ), sequence
