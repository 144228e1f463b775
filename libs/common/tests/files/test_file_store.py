"""Files as sessions use them: copies of their own, outputs, and what a crash or a second try makes of it."""

import pytest

from efferent.common.control.aggregates import Actor
from efferent.common.domain.ids import FileId, WorkspaceId
from efferent.common.domain.refusals import InvalidRequest, NotFound, TooLarge
from efferent.common.domain.resources.file import File
from libs.common.tests.blobs.store_rig import ACTOR, SESSION, Stores
from libs.common.tests.files.chunked import chunked


@pytest.fixture
def stores() -> Stores:
    return Stores()


async def uploaded(stores: Stores, data: bytes = b"data", filename: str | None = "a.txt", mime: str = "") -> File:
    return await stores.files.upload(
        ACTOR, await stores.files.receive(chunked(data)), filename=filename, mime_type=mime
    )


async def read(stores: Stores, file: File) -> bytes:
    return b"".join([chunk async for chunk in stores.files.content(file)])


async def test_a_copy_has_its_own_id_and_outlives_the_upload(stores: Stores) -> None:
    file = await uploaded(stores)
    copy = await stores.files.copy_for_session(ACTOR, file.id, SESSION)
    assert (copy.filename, copy.size_bytes, copy.sha256) == (file.filename, file.size_bytes, file.sha256)
    assert (copy.id == file.id, copy.session_id, copy.downloadable) == (False, SESSION, False)
    await stores.files.delete(ACTOR, file.id)
    assert await read(stores, await stores.files.get(ACTOR.workspace_id, copy.id)) == b"data"


async def test_a_copy_that_is_asked_for_again_is_the_same_copy(stores: Stores) -> None:
    file = await uploaded(stores)
    copies = [
        await stores.files.copy_for_session(ACTOR, file.id, SESSION, copy_id=FileId("file_copy")) for _ in range(2)
    ]
    assert copies[0] == copies[1]
    assert await stores.keys() == sorted([file.blob_key, copies[0].blob_key])


async def test_a_copy_of_what_is_not_there_is_refused(stores: Stores) -> None:
    file = await uploaded(stores)
    with pytest.raises(NotFound, match="File not found"):
        await stores.files.copy_for_session(ACTOR, "file_unknown", SESSION)
    with pytest.raises(NotFound, match="File not found"):
        await stores.files.copy_for_session(Actor(WorkspaceId("wrkspc_b")), file.id, SESSION)
    await stores.blobs.delete(file.blob_prefix)  # the other half of a deletion that is under way
    with pytest.raises(NotFound, match="File not found"):
        await stores.files.copy_for_session(ACTOR, file.id, SESSION)


async def test_an_output_is_downloadable_and_called_by_its_last_name(stores: Stores) -> None:
    output = await stores.files.add_output(ACTOR, SESSION, "outputs/nested/child.csv", chunked(b"a,b"))
    assert (output.filename, output.mime_type, output.downloadable) == ("child.csv", "text/csv", True)
    assert output.session_id == SESSION
    assert await read(stores, output) == b"a,b"


@pytest.mark.parametrize(
    ("path", "filename"),
    [
        ("at 12:30?.txt", "at 12_30_.txt"),
        ('a\\b"c|<d>.md', "a_b_c__d_.md"),
        ("deep/new\nline", "new_line"),
        ("x" * 300, "x" * 255),
        ("deep/", "unnamed"),
    ],
)
async def test_an_output_is_kept_whatever_it_is_called(stores: Stores, path: str, filename: str) -> None:
    assert (await stores.files.add_output(ACTOR, SESSION, path, chunked(b"1"))).filename == filename


async def test_an_output_that_is_brought_again_is_the_same_file(stores: Stores) -> None:
    made = [
        await stores.files.add_output(ACTOR, SESSION, "x", chunked(b"1"), file_id=FileId("file_out")) for _ in range(2)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("filename", "mime", "expected"),
    [
        ("a.txt", "image/png", ("a.txt", "image/png")),
        ("a.md", "application/octet-stream", ("a.md", "text/markdown")),
        ("a.xlsx", "", ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
        ("A.PDF", "", ("A.PDF", "application/pdf")),
        ("a.unknown", "", ("a.unknown", "application/octet-stream")),
        ("a.tar.gz", "", ("a.tar.gz", "application/octet-stream")),
        ("noextension", "", ("noextension", "application/octet-stream")),
        (None, "application/pdf", ("unnamed.pdf", "application/pdf")),
        (None, "", ("unnamed", "application/octet-stream")),
    ],
)
async def test_name_and_type_complete_each_other(
    stores: Stores, filename: str | None, mime: str, expected: tuple[str, str]
) -> None:
    file = await uploaded(stores, filename=filename, mime=mime)
    assert (file.filename, file.mime_type) == expected


async def test_the_largest_file_is_taken_and_one_byte_more_is_not(stores: Stores) -> None:
    assert (await uploaded(stores, b"x" * 1_000)).size_bytes == 1_000
    for receiving in (
        uploaded(stores, b"x" * 1_001),
        stores.files.add_output(ACTOR, SESSION, "x", chunked(b"x" * 1_001)),
    ):
        with pytest.raises(TooLarge, match="file: larger than 1000 bytes"):
            await receiving
    assert len(await stores.keys()) == 1


async def test_a_refused_upload_leaves_no_bytes(stores: Stores) -> None:
    with pytest.raises(InvalidRequest, match="the filename must not contain"):
        await uploaded(stores, filename="a?b")
    assert await stores.keys() == []


async def test_an_empty_file_is_a_file(stores: Stores) -> None:
    assert await read(stores, await uploaded(stores, b"")) == b""
