"""The projection's file: where each public event stands and what each session looks like, for lists and filters.

SQLite in WAL mode, one file per gateway. It holds positions and folded states, never what an event says: bodies come
from the log. Everything here is plain and blocking; ``projection.py`` decides which thread calls it. The file
can be deleted at any time and is rebuilt from the log; so is one that is damaged or was written by other code.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from efferent.common import record_folding
from efferent.common.domain.ids import SessionId
from efferent.common.domain.resources.session_resource import MemoryStoreResource
from efferent.common.domain.state import shown_status
from efferent.common.state_blob import code_version, dump_state, load_state
from efferent.gateway import sqlite_file
from efferent.gateway.sessions.projected import Changes, Deletion, EventQuery, Folded, SessionQuery
from efferent.gateway.sessions.public_events import Position

SCHEMA_VERSION: Final = 5

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
  session_id TEXT NOT NULL, sequence INTEGER NOT NULL, events TEXT NOT NULL, PRIMARY KEY (session_id, sequence)
) WITHOUT ROWID;
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL, agent_id TEXT NOT NULL, agent_version INTEGER NOT NULL,
  deployment_id TEXT, environment_id TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL,
  archived_at TEXT, sequence INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_time ON sessions (workspace_id, created_at, id);
CREATE INDEX sessions_not_archived ON sessions (workspace_id, created_at, id) WHERE archived_at IS NULL;
CREATE INDEX sessions_by_agent ON sessions (workspace_id, agent_id, created_at, id);
CREATE INDEX sessions_by_status ON sessions (workspace_id, status, created_at, id);
CREATE INDEX sessions_by_deployment ON sessions (workspace_id, deployment_id, created_at, id)
  WHERE deployment_id IS NOT NULL;
CREATE TABLE attached_stores (
  memory_store_id TEXT NOT NULL, session_id TEXT NOT NULL, PRIMARY KEY (memory_store_id, session_id)
) WITHOUT ROWID;
CREATE INDEX attached_stores_by_session ON attached_stores (session_id);
CREATE TABLE deletions (
  session_id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL, sequence INTEGER NOT NULL, last BLOB NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('applied', '0');
"""

# What ``records.events`` says of each event: ``ListedEvent``. A record's events share a row: rows are what building
# the file again costs.
_ENTRY: Final = "json_extract(value, '$[0]')"
_TYPE: Final = "json_extract(value, '$[1]')"
_THREAD: Final = "json_extract(value, '$[2]')"
_PROCESSED_AT: Final = "json_extract(value, '$[3]')"


def _insert(table: str, columns: int) -> str:
    """One statement for all rows of a transaction, which ``_rows`` hands over.

    ``executemany`` takes the interpreter's lock again for every row, and waits for it while others compute.
    """
    values = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(columns))
    return f"INSERT INTO {table} SELECT {values} FROM json_each(?) WHERE true"  # noqa: S608  (fixed names)


_INSERT_RECORDS: Final = _insert("records", 3) + " ON CONFLICT (session_id, sequence) DO NOTHING"
# Only what can change: the other columns' indexes stay untouched.
_INSERT_SESSIONS: Final = _insert("sessions", 11) + (
    " ON CONFLICT (id) DO UPDATE SET agent_version = excluded.agent_version, status = excluded.status,"
    " archived_at = excluded.archived_at, sequence = excluded.sequence, state = excluded.state"
)


class EventIndex:
    """One connection to the file. Used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, stream: str) -> "EventIndex":
        """Open the file; make it anew when it is missing, damaged, of another stream, or written by other code."""
        with contextlib.suppress(sqlite3.DatabaseError, _Foreign):
            return cls._existing(path, stream)
        sqlite_file.delete(path)
        connection = sqlite_file.connect(path, isolation_level="DEFERRED")
        connection.executescript(_TABLES)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (_version(stream),))
        connection.commit()
        return cls(connection)

    @classmethod
    def _existing(cls, path: Path, stream: str) -> "EventIndex":
        connection = sqlite_file.connect(path, isolation_level="DEFERRED")
        try:
            rows = dict(connection.execute("SELECT key, value FROM meta").fetchall())
            if rows.get("version") != _version(stream):
                raise _Foreign
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def applied(self) -> int:
        """Sequence of the last record that the file reflects."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'applied'").fetchone()
        return int(row[0])

    def write(self, changes: Changes) -> None:
        """Write everything in one transaction, or nothing. Writing the same records again changes nothing."""
        with self._connection as transaction:
            transaction.execute(_INSERT_RECORDS, (_rows(changes.events),))
            transaction.execute(_INSERT_SESSIONS, (_rows([_row(folded) for folded in changes.states.values()]),))
            transaction.executemany("INSERT OR IGNORE INTO attached_stores VALUES (?, ?)", _attached(changes))
            transaction.executemany(
                "INSERT OR REPLACE INTO deletions VALUES (?, ?, ?, ?)",
                [
                    (deletion.session_id, deletion.workspace_id, deletion.sequence, deletion.last)
                    for deletion in changes.deletions.values()
                ],
            )
            for table, column, gone in (
                ("records", "session_id", changes.deleted),
                ("sessions", "id", changes.deleted),
                ("attached_stores", "session_id", changes.deleted),
                ("deletions", "session_id", changes.deletions_done),
            ):
                transaction.executemany(
                    f"DELETE FROM {table} WHERE {column} = ?",  # noqa: S608  (fixed names)
                    [(session_id,) for session_id in gone],
                )
            if changes.applied:
                transaction.execute("UPDATE meta SET value = ? WHERE key = 'applied'", (str(changes.applied),))

    def states(self, session_ids: Iterable[SessionId]) -> Mapping[SessionId, Folded]:
        """The folded states of these sessions, as far as there are any."""
        found = {}
        for session_id in session_ids:
            row = self._connection.execute(
                "SELECT state, sequence FROM sessions WHERE id = ?", (session_id,)
            ).fetchone()
            if row is not None:
                found[session_id] = _folded(*row)
        return found

    def positions(self, query: EventQuery) -> Sequence[Position]:
        """Where the events of the page stand, in the query's order."""
        conditions: list[tuple[str, object]] = [("session_id = ?", query.session_id), (f"{_THREAD} IS ?", query.thread)]
        conditions.append(("sequence <= ?", query.until))
        conditions.extend(query.processed_at.conditions(_PROCESSED_AT))
        is_rising = query.order == "asc"
        if query.after is not None:
            conditions.append((f"sequence {'>=' if is_rising else '<='} ?", query.after.sequence))
        where, values = _where(conditions)
        if query.types:
            where += f" AND {_TYPE} IN ({', '.join('?' * len(query.types))})"
            values.extend(query.types)
        if query.after is not None:
            where += f" AND (sequence, {_ENTRY}) {'>' if is_rising else '<'} (?, ?)"
            values.extend(query.after)
        rows = self._connection.execute(
            f"SELECT sequence, {_ENTRY} FROM records, json_each(records.events)"  # noqa: S608  (made of fixed texts)
            f" WHERE {where} ORDER BY sequence {query.order}, {_ENTRY} {query.order} LIMIT ?",
            (*values, query.limit),
        )
        return [Position(sequence, entry) for sequence, entry in rows]

    def sessions(self, query: SessionQuery) -> Sequence[Folded]:
        """The sessions of the page, in the query's order."""
        conditions: list[tuple[str, object]] = [("workspace_id = ?", query.workspace_id)]
        if query.agent_id is not None:
            conditions.append(("agent_id = ?", query.agent_id))
        if query.agent_version is not None:
            conditions.append(("agent_version = ?", query.agent_version))
        if query.deployment_id is not None:
            conditions.append(("deployment_id = ?", query.deployment_id))
        if query.memory_store_id is not None:
            attached = "id IN (SELECT session_id FROM attached_stores WHERE memory_store_id = ?)"
            conditions.append((attached, query.memory_store_id))
        conditions.extend(query.created_at.conditions("created_at"))
        where, values = _where(conditions)
        if not query.include_archived:
            where += " AND archived_at IS NULL"
        is_rising = (query.order == "asc") != query.backwards
        if query.after is not None:
            where += f" AND (created_at, id) {'>' if is_rising else '<'} (?, ?)"
            values.extend(query.after)
        found = self._sessions(where, values, is_rising, query.statuses, query.limit)
        page = [_folded(state, sequence) for _, _, state, sequence in found]
        return page[::-1] if query.backwards else page

    def _sessions(
        self, where: str, values: Sequence[object], is_rising: bool, statuses: Iterable[str], limit: int
    ) -> Sequence[tuple[str, str, str, int]]:
        """Creation, id, state and sequence. One query per status: each of them follows an index and reads few rows."""
        direction = "ASC" if is_rising else "DESC"
        statement = (
            f"SELECT created_at, id, state, sequence FROM sessions WHERE {where}{{}}"  # noqa: S608  (fixed texts)
            f" ORDER BY created_at {direction}, id {direction} LIMIT ?"
        )
        if not statuses:
            return self._connection.execute(statement.format(""), (*values, limit)).fetchall()
        rows = [
            self._connection.execute(statement.format(" AND status = ?"), (*values, status, limit)).fetchall()
            for status in sorted(statuses)
        ]
        return sorted(itertools.chain(*rows), key=lambda row: row[:2], reverse=not is_rising)[:limit]

    def deletions(self) -> Sequence[Deletion]:
        """Deletions that have still to be carried out."""
        rows = self._connection.execute("SELECT session_id, workspace_id, sequence, last FROM deletions")
        return [Deletion(*row) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error says that the file is worth nothing, and not that it cannot be used right now."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("Could not decode to UTF-8")  # nobody wrote such a text
    return isinstance(error, sqlite3.DatabaseError)


class _Foreign(Exception):
    """The file was written by other code."""


def _version(stream: str) -> str:
    return f"{SCHEMA_VERSION} {code_version(record_folding)} {stream}"


def _folded(state: str, sequence: int) -> Folded:
    try:
        return Folded(load_state(state.encode()), sequence)
    except ValueError as error:
        raise sqlite3.DatabaseError("a state in the file is not readable") from error


def _rows(rows: Sequence[Sequence[object]]) -> str:
    return orjson.dumps(rows).decode()


def _row(folded: Folded) -> tuple[object, ...]:
    state = folded.state
    return (
        state.session_id,
        state.workspace_id,
        state.agent.id,
        state.agent.version,
        state.deployment_id,
        state.environment_id,
        shown_status(state),
        state.created_at,
        state.archived_at,
        folded.sequence,
        dump_state(state).decode(),
    )


def _attached(changes: Changes) -> list[tuple[str, str]]:
    """Memory stores and the sessions that have them. Most sessions have none, and none gets one later."""
    return [
        (held.resource.memory_store_id, session_id)
        for session_id, folded in changes.states.items()
        for held in folded.state.resources
        if isinstance(held.resource, MemoryStoreResource)
    ]


def _where(conditions: Sequence[tuple[str, object]]) -> tuple[str, list[object]]:
    return " AND ".join(text for text, _ in conditions), [value for _, value in conditions]
