"""How lists show paths of memories: every page size gives the same lines, and none is lost."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.control.memory_paths import checked_path, checked_prefix, list_paths
from efferent.common.domain.refusals import InvalidRequest

SEGMENT = st.text("ab-.0", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)), unique=True)
PREFIX = st.sampled_from(["/", "/a/", "/a/b/"])


@given(PATHS, PREFIX, st.booleans(), st.integers(1, 5))
def test_pages_of_any_size_give_the_lines_in_order(paths: list[str], prefix: str, is_shallow: bool, limit: int) -> None:
    paths = sorted(paths)
    whole = [line.path for line in list_paths(paths, prefix=prefix, is_shallow=is_shallow, after=None, limit=10_000)]
    assert whole == sorted(set(whole))
    paged: list[str] = []
    while page := list_paths(
        paths, prefix=prefix, is_shallow=is_shallow, after=paged[-1] if paged else None, limit=limit
    ):
        assert len(page) <= limit
        paged += [line.path for line in page]
    assert paged == whole


@given(PATHS, PREFIX)
def test_every_memory_below_the_prefix_is_a_line_or_in_a_folder(paths: list[str], prefix: str) -> None:
    below = sorted(path for path in paths if path.startswith(prefix))
    assert [line.path for line in list_paths(below, prefix=prefix, is_shallow=False, after=None, limit=999)] == below
    lines = list_paths(below, prefix=prefix, is_shallow=True, after=None, limit=999)
    for path in below:
        assert [line for line in lines if line.path == path or (line.is_prefix and path.startswith(line.path))]
    assert all("/" not in line.path[len(prefix) :].removesuffix("/") for line in lines)


@given(st.text(max_size=40))
def test_a_path_is_taken_as_it_is_or_refused(text: str) -> None:
    try:
        path = checked_path(text)
    except InvalidRequest as refused:
        assert refused.message.startswith("path: ")  # noqa: PT017  (either may happen)
        return
    assert path == text == unicodedata.normalize("NFC", text)
    assert checked_prefix(path + "/") == path + "/"


def test_a_lone_surrogate_is_no_path() -> None:
    with pytest.raises(InvalidRequest, match="path: must not contain"):
        checked_path("/\ud800")
