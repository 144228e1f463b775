"""Cursors: what this server wrote it reads, anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.ids import WorkspaceId
from efferent.gateway import cursors
from efferent.gateway.cursors import Cursor
from efferent.gateway.errors import InvalidRequest

OWN = WorkspaceId("wrkspc_a")
positions = st.tuples(st.text(max_size=40), st.integers(0, 2**53))


def written(cursor: Cursor) -> str:
    return cursors.write(cursor, kind="agent", workspace_id=OWN, order="desc")


@given(positions, st.sampled_from(["next", "prev"]))
def test_what_was_written_is_read(position: tuple[str, int], direction: cursors.Direction) -> None:
    cursor = Cursor(position, direction)
    text = written(cursor)
    assert text.isascii()
    assert cursors.read(text, kind="agent", workspace_id=OWN, order="desc", width=2) == cursor


@given(st.text(max_size=200))
def test_nothing_else_is_read(text: str) -> None:
    for candidate in (text, f"page_{text}"):
        with pytest.raises(InvalidRequest) as refusal:
            cursors.read(candidate, kind="agent", workspace_id=OWN, order="desc", width=2)
        assert refusal.value.message == "invalid page cursor"


def test_a_cursor_of_the_other_order_is_told_so() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        cursors.read(written(Cursor(("a", 1))), kind="agent", workspace_id=OWN, order="asc", width=2)
    assert refusal.value.message == "page token order does not match request"


@pytest.mark.parametrize(
    ("kind", "workspace_id", "width"),
    [("environment", OWN, 2), ("agent", WorkspaceId("wrkspc_b"), 2), ("agent", OWN, 1)],
)
def test_a_cursor_of_another_list_is_refused(kind: str, workspace_id: WorkspaceId, width: int) -> None:
    with pytest.raises(InvalidRequest):
        cursors.read(written(Cursor(("a", 1))), kind=kind, workspace_id=workspace_id, order="desc", width=width)
