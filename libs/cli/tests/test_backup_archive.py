"""The file of a backup: what goes in comes out, and nothing else opens."""

import io
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efferent.cli.backup.archive import (
    FRAME_BYTES_MAX,
    ArchiveReader,
    ArchiveWriter,
    BlobEntry,
    LateRecordEntry,
    Manifest,
)
from efferent.cli.backup.encryption import (
    BLOCK_BYTES,
    ArchiveError,
    DamagedArchive,
    EncryptedWriter,
    NotAnArchive,
    WrongPassphrase,
    decrypted,
)
from efferent.cli.backup.passphrase import read_passphrase
from efferent.cli.errors import CommandError
from efferent.common.domain.timestamp import Timestamp

PASSPHRASE: Final = "correct horse battery"
HEADER_BYTES: Final = 40
TAG_BYTES: Final = 16


COST_LOG2: Final = 4
"""The real cost is half a second for each opening."""


def sealed(*parts: bytes) -> bytes:
    file = io.BytesIO()
    writer = EncryptedWriter(file, PASSPHRASE, cost_log2=COST_LOG2)
    for part in parts:
        writer.write(part)
    writer.finish()
    return file.getvalue()


_THREE_BLOCKS: Final = sealed(b"x" * (2 * BLOCK_BYTES + 5))


def opened(archive: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return b"".join(decrypted(io.BytesIO(archive), passphrase))


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES])
def test_what_is_encrypted_opens_again_at_every_edge_of_a_block(length: int) -> None:
    assert opened(sealed(b"x" * length)) == b"x" * length


def test_two_archives_of_the_same_bytes_have_nothing_in_common() -> None:
    assert sealed(b"same")[16:] != sealed(b"same")[16:]
    assert b"same" not in sealed(b"same")


def test_a_wrong_passphrase_is_told_from_a_file_that_is_no_archive() -> None:
    with pytest.raises(WrongPassphrase, match="another passphrase"):
        opened(sealed(b"x"), "another passphrase here")
    for other in (b"", b"hello", b"x" * 100):
        with pytest.raises(NotAnArchive, match="no backup"):
            opened(other)


@settings(max_examples=30, deadline=None)
@given(place=st.integers(0, 3 * BLOCK_BYTES + HEADER_BYTES), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_is_found(place: int, bit: int) -> None:
    archive = bytearray(_THREE_BLOCKS)
    place %= len(archive)
    if place == 16:  # the cost of scrypt: a larger one only takes longer to fail
        return
    archive[place] ^= 1 << bit
    with pytest.raises(ArchiveError):
        opened(bytes(archive))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_an_archive_that_was_cut_between_blocks_is_found(blocks: int) -> None:
    cut = _THREE_BLOCKS[: HEADER_BYTES + blocks * (BLOCK_BYTES + TAG_BYTES)]
    with pytest.raises(ArchiveError):
        opened(cut)


def test_blocks_that_were_exchanged_or_repeated_are_found() -> None:
    size = BLOCK_BYTES + TAG_BYTES
    head, rest = _THREE_BLOCKS[:HEADER_BYTES], _THREE_BLOCKS[HEADER_BYTES:]
    one, two, three = rest[:size], rest[size : 2 * size], rest[2 * size :]
    for changed in (head + two + one + three, head + one + one + two + three, head + one + two + three + three):
        with pytest.raises(ArchiveError):
            opened(changed)


MANIFEST: Final = Manifest(created_at=Timestamp("2026-11-21T10:00:00.000000Z"), version="1", root_key="none")


def test_entries_come_back_in_order_with_their_bytes_read_or_skipped() -> None:
    big = bytes(range(256)) * (FRAME_BYTES_MAX // 256) + b"tail"
    file = io.BytesIO()
    writer = ArchiveWriter(file, PASSPHRASE, cost_log2=COST_LOG2)
    writer.whole(MANIFEST)
    writer.begin(BlobEntry(key="a/b"))
    writer.data(big)
    writer.data(b"more")
    writer.end()
    writer.whole(BlobEntry(key="skipped"), b"never read")
    writer.whole(LateRecordEntry(subject="control.x.y"), b"{}")
    writer.finish()
    file.seek(0)
    reader = ArchiveReader(file, PASSPHRASE)
    seen = [
        (entry, b"" if entry == BlobEntry(key="skipped") else b"".join(reader.data())) for entry in reader.entries()
    ]
    assert seen == [
        (MANIFEST, b""),
        (BlobEntry(key="a/b"), big + b"more"),
        (BlobEntry(key="skipped"), b""),
        (LateRecordEntry(subject="control.x.y"), b"{}"),
    ]


def test_an_archive_without_its_end_is_damaged() -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file, PASSPHRASE, cost_log2=COST_LOG2)
    writer.whole(MANIFEST)
    writer._out.finish()  # what a writer that was killed cannot do; entries are counted on to end all the same
    file.seek(0)
    with pytest.raises(DamagedArchive, match="cut short"):
        list(ArchiveReader(file, PASSPHRASE).entries())


def test_a_passphrase_comes_from_the_environment_or_a_file_and_must_protect(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("twelve chars\n")
    assert read_passphrase({"EFFERENT_BACKUP_PASSPHRASE_FILE": str(file)}) == "twelve chars"
    assert read_passphrase({"EFFERENT_BACKUP_PASSPHRASE": "x" * 4096}) == "x" * 4096
    for environ, words in (
        ({}, "set either"),
        ({"EFFERENT_BACKUP_PASSPHRASE": "a" * 20, "EFFERENT_BACKUP_PASSPHRASE_FILE": str(file)}, "set either"),
        ({"EFFERENT_BACKUP_PASSPHRASE": "eleven char"}, "12 to 4096 characters"),
        ({"EFFERENT_BACKUP_PASSPHRASE": "x" * 4097}, "12 to 4096 characters"),
        ({"EFFERENT_BACKUP_PASSPHRASE_FILE": str(tmp_path / "none")}, "cannot be read"),
    ):
        with pytest.raises(CommandError, match=words) as refused:
            read_passphrase(environ)
        assert "eleven" not in str(refused.value)
