"""Blobs on disk: names that stay inside, writes that are whole or absent."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from efferent.common.blobs import local_folder
from efferent.common.blobs.chunks import BLOCK_BYTES
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.ports import BlobsUnavailable


async def test_key_that_could_leave_the_folder_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await LocalFolderBlobs(tmp_path / "blobs").put("../x", b"x")
    assert not (tmp_path / "blobs").exists()


async def test_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = LocalFolderBlobs(tmp_path / "blobs")
    await blobs.put("sesn_a/x/y", b"old")
    with pytest.raises(OSError, match="directory"):
        await blobs.put("sesn_a/x", b"new")  # a folder of that name is in the way
    assert await blobs.get("sesn_a/x/y") == b"old"
    assert list((tmp_path / "blobs" / ".drafts").iterdir()) == []


async def test_another_process_sees_what_was_put(tmp_path: Path) -> None:
    await LocalFolderBlobs(tmp_path / "blobs").put("sesn_a/x", b"data")
    assert await LocalFolderBlobs(tmp_path / "blobs").get("sesn_a/x") == b"data"


async def test_copies_share_their_bytes_on_the_disk(tmp_path: Path) -> None:
    blobs = LocalFolderBlobs(tmp_path)
    await blobs.put("file_a/content", b"data")
    await blobs.copy("file_a/content", "sesn_a/files/file_b/content")
    assert (tmp_path / "file_a/content").stat().st_ino == (tmp_path / "sesn_a/files/file_b/content").stat().st_ino


async def test_without_links_a_copy_is_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    blobs = LocalFolderBlobs(tmp_path)
    await blobs.put("file_a/content", b"data")
    await blobs.copy("file_a/content", "sesn_a/x")
    assert await blobs.get("sesn_a/x") == b"data"


async def test_drafts_that_a_dead_writer_left_are_swept_and_those_of_a_live_one_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, other = LocalFolderBlobs(tmp_path), LocalFolderBlobs(tmp_path)
    (tmp_path / ".drafts").mkdir()
    (tmp_path / ".drafts" / "left").write_bytes(b"half")
    assert await other.sweep_drafts() == 0  # it could be one that is just being made
    monkeypatch.setattr(local_folder, "DRAFT_AGE_S", -1.0)

    async def swept_meanwhile() -> AsyncIterator[bytes]:
        yield b"x" * BLOCK_BYTES
        assert await other.sweep_drafts() == 1
        yield b"y"

    await blobs.put_stream("file_a/content", swept_meanwhile())
    assert len(await blobs.get("file_a/content")) == BLOCK_BYTES + 1
    assert await other.sweep_drafts() == 0


async def test_a_full_disk_is_told_apart_from_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    blobs = LocalFolderBlobs(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlobsUnavailable, match="No space left"):
        await blobs.put("file_a/content", b"x")
    assert [entry async for entry in blobs.entries()] == []


async def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file is in the way")
    with pytest.raises(BlobsUnavailable, match="the folder of blobs cannot be written"):
        await LocalFolderBlobs(tmp_path / "blobs").check()


async def test_many_may_delete_the_same_at_once_while_somebody_stores_there(tmp_path: Path) -> None:
    blobs = LocalFolderBlobs(tmp_path)
    for _ in range(2):
        for number in range(5):
            await blobs.put(f"sesn_a/files/file_{number}/content", b"old")
        deletions = (blobs.delete("sesn_a/") for _ in range(3))
        await asyncio.gather(*deletions, blobs.put("sesn_a/files/file_new/content", b"new"))
        left = [entry.key async for entry in blobs.entries("sesn_a/")]
        assert left in ([], ["sesn_a/files/file_new/content"])
        await blobs.delete("sesn_a/")
        assert not (tmp_path / "sesn_a").exists()
    assert list((tmp_path / ".drafts").iterdir()) == []


async def test_a_folder_that_never_gets_empty_is_told_apart_from_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = LocalFolderBlobs(tmp_path)
    await blobs.put("sesn_a/x", b"data")
    refused = OSError(errno.ENOTEMPTY, "Directory not empty")
    tries: list[str | int] = []

    def not_empty(name: str | int, *_args: object, **_options: object) -> None:
        tries.append(name)
        raise refused

    monkeypatch.setattr(os, "rmdir", not_empty)
    with pytest.raises(BlobsUnavailable):
        await blobs.delete("sesn_a/")
    assert len(tries) == local_folder._TRIES
