"""Files: names, types, expiry, and what can happen to one. Pure."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.control.file import (
    FILE,
    CreateFile,
    DeleteFile,
    ExpireFile,
    FileCommand,
    checked_filename,
    decide,
    usable_mime_type,
)
from efferent.common.domain.ids import FileId, SessionId, WorkspaceId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.file import File
from efferent.common.domain.timestamp import Timestamp

EARLY: Final = Timestamp("2026-01-01T00:00:00.000000Z")
HOUR_LATER: Final = Timestamp("2026-01-01T01:00:00.000000Z")
A, SESSION = FileId("file_a"), SessionId("sesn_a")


def create(
    expires_in_s: int | None = None, session_id: SessionId | None = None, *, is_copy: bool = False, sha256: str = "5a"
) -> CreateFile:
    return CreateFile(A, "a.txt", "text/plain", 5, sha256, expires_in_s, session_id, is_copy)


def made(command: CreateFile, now: Timestamp = EARLY) -> File:
    change = decide(None, command, now)
    assert change is not None
    assert change.deed == "created"
    return change.data


def test_an_upload_stands_alone_and_is_not_downloadable() -> None:
    file = made(create())
    assert (file.downloadable, file.scope, file.expires_at, file.blob_key) == (False, None, None, "file_a/content")
    assert FILE.facets(file) == {"stored_bytes": "5"}


def test_what_an_agent_made_is_downloadable_and_goes_with_its_session() -> None:
    file = made(create(session_id=SESSION))
    assert (file.downloadable, file.session_id, file.blob_key) == (True, SESSION, "sesn_a/files/file_a/content")
    assert FILE.parent(file) == SESSION


def test_a_copy_is_not_downloadable_and_takes_no_storage() -> None:
    file = made(create(session_id=SESSION, is_copy=True))
    assert (file.downloadable, FILE.facets(file)) == (False, {"stored_bytes": "0"})


def test_clients_see_neither_hash_nor_where_bytes_are() -> None:
    shown = FILE.shown(made(create(session_id=SESSION, is_copy=True)))
    assert shown == (
        b'{"type":"file","id":"file_a","filename":"a.txt","mime_type":"text/plain","size_bytes":5,'
        b'"created_at":"2026-01-01T00:00:00.000000Z","downloadable":false,"expires_at":null,'
        b'"scope":{"type":"session","id":"sesn_a"}}'
    )


@pytest.mark.parametrize("seconds", [3_600, 7_776_000])
def test_a_file_expires_at_the_second(seconds: int) -> None:
    file = made(create(expires_in_s=seconds))
    assert file.expires_at == (HOUR_LATER if seconds == 3_600 else "2026-04-01T00:00:00.000000Z")


@pytest.mark.parametrize("seconds", [0, -1, 3_599, 7_776_001])
def test_an_expiry_outside_the_limits_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidRequest, match="expires_in_seconds: must be between 3600 and 7776000"):
        decide(None, create(expires_in_s=seconds), EARLY)


def test_an_expired_file_is_gone_for_clients_and_says_so() -> None:
    file = made(create(expires_in_s=3_600))
    with pytest.raises(NotFound) as caught:
        decide(file, DeleteFile(), HOUR_LATER)
    assert (caught.value.code, caught.value.message) == ("file_expired", "File 'file_a' has expired.")


def test_only_a_file_whose_time_is_over_expires() -> None:
    file = made(create(expires_in_s=3_600))
    assert decide(file, ExpireFile(), EARLY) is None
    assert decide(made(create()), ExpireFile(), HOUR_LATER) is None
    expired = decide(file, ExpireFile(), HOUR_LATER)
    assert expired is not None
    assert expired.deed == "deleted"


def test_making_the_same_file_again_changes_nothing_and_another_one_is_a_conflict() -> None:
    copy = made(create(session_id=SESSION, is_copy=True))
    assert decide(copy, create(session_id=SESSION, is_copy=True), HOUR_LATER) is None
    with pytest.raises(Conflict, match="file file_a exists already"):
        decide(copy, create(session_id=SESSION, is_copy=True, sha256="other"), EARLY)


def test_what_is_not_there_cannot_be_deleted() -> None:
    with pytest.raises(NotFound, match="File not found") as caught:
        decide(None, DeleteFile(), EARLY)
    assert caught.value.code is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("a/b/report.pdf", "report.pdf"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("x" * 255, "x" * 255),
        ("žluť 表.csv", "žluť 表.csv"),
        (None, "unnamed.txt"),
        ("", "unnamed.txt"),
        ("folder/", "unnamed.txt"),
    ],
)
def test_the_last_path_component_is_the_name(given: str | None, kept: str) -> None:
    assert checked_filename(given, extension=".txt") == kept


@pytest.mark.parametrize("name", ["x" * 256, "a<b", "a>b", "a:b", 'a"b', "a|b", "a?b", "a*b", "a\nb", "a\0", "..", "."])
def test_names_that_no_disk_takes_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="file: the filename must"):
        checked_filename(name, extension="")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("text/plain", "text/plain"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ('text/x; a="b c"', 'text/x; a="b c"'),
        ("application/octet-stream", None),
        ("Application/Octet-Stream; x=y", None),
        ("text/plain\r\nx-evil: 1", None),
        ("nonsense", None),
        ("a/" + "b" * 254, None),
        (None, None),
    ],
)
def test_a_type_is_taken_when_it_says_something(given: str | None, kept: str | None) -> None:
    assert usable_mime_type(given) == kept


COMMANDS: st.SearchStrategy[FileCommand] = st.one_of(
    st.builds(
        create,
        st.sampled_from([None, 3_600, 5]),
        st.sampled_from([None, SESSION]),
        is_copy=st.booleans(),
        sha256=st.sampled_from(["5a", "5b"]),
    ),
    st.just(DeleteFile()),
    st.just(ExpireFile()),
)


@given(st.lists(st.tuples(COMMANDS, st.sampled_from([EARLY, HOUR_LATER])), max_size=12))
def test_whatever_is_asked_a_file_is_never_changed(steps: list[tuple[FileCommand, Timestamp]]) -> None:
    current: File | None = None
    for command, now in steps:
        try:
            change = decide(current, command, now)
        except Refused:
            continue
        if change is None:
            continue
        if change.deed == "deleted":
            assert change.data == current
            current = None
        else:
            assert current is None
            current = change.data
            record = FILE.decode(FILE.encode(change, at=now, workspace_id=WorkspaceId("wrkspc_a"), actor=None))
            assert record.data == current
