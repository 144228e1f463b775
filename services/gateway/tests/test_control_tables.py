"""The projection's tables: records that come together leave what they leave one by one."""

import sqlite3
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.control import tables
from efferent.gateway.control.tables import Row

AT = Timestamp("2026-01-01T00:00:00.000000Z")


def row(sequence: int, kind: str, identifier: str, deed: str) -> Row:
    """A record of a vault, or of a credential in the vault of the same number."""
    is_vault = kind == "vault"
    return Row(
        kind=kind,
        id=f"{kind}_{identifier}",
        workspace_id=WorkspaceId("wrkspc_a"),
        set_id=f"vault_{identifier}",
        is_set=is_vault,
        parent=None if is_vault else f"vault_{identifier}",
        created_at=AT,
        archived_at=AT if deed == "archived" else None,
        version=sequence,
        keeps_versions=is_vault,
        name=f"name {sequence}",
        facets={"deed": deed},
        sequence=sequence,
        body=b'{"sequence":%d}' % sequence,
        deleted=deed == "deleted",
    )


DEEDS = st.tuples(
    st.sampled_from(["vault", "credential"]),
    st.sampled_from("ab"),
    st.sampled_from(["created", "updated", "archived", "deleted"]),
)


def apply(db: sqlite3.Connection, rows: list[Row]) -> None:
    tables.apply(db, rows, sets={}, stream="s", sequence=rows[-1].sequence, unreadable=0)


def content(db: sqlite3.Connection) -> list[list[tuple[object, ...]]]:
    return [
        db.execute(f"SELECT * FROM {table} ORDER BY kind, id, version").fetchall()  # noqa: S608
        for table in ("resources", "versions")
    ]


@given(st.lists(DEEDS, min_size=1, max_size=12))
def test_records_applied_together_are_records_applied_one_by_one(deeds: list[tuple[str, str, str]]) -> None:
    rows = [row(sequence, *deed) for sequence, deed in enumerate(deeds, start=1)]
    together, one_by_one = tables.create(Path(":memory:")), tables.create(Path(":memory:"))
    apply(together, rows)
    for each in rows:
        apply(one_by_one, [each])
    assert content(together) == content(one_by_one)
    together.close()
    one_by_one.close()


def test_what_is_asked_of_a_set_is_answered_from_its_index_alone(tmp_path: Path) -> None:
    db = tables.create(tmp_path / "tables.sqlite")
    plan = db.execute(
        "EXPLAIN QUERY PLAN SELECT count(*), count(*) FILTER (WHERE archived_at IS NULL) FROM resources "
        "WHERE kind = 'vault' AND set_id = 'a' AND id <> 'b'"
    ).fetchall()
    assert [step[3] for step in plan] == [
        "SEARCH resources USING COVERING INDEX resources_in_set (set_id=? AND kind=?)"
    ]
    db.close()
