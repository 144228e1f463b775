"""Blobs on disk: names that stay inside, writes that are whole or absent."""

import asyncio
from pathlib import Path

import pytest

from efferent.common.blobs.local_folder import LocalFolderBlobs


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".drafts/x", "a/.hidden", "a\0b"])
async def test_key_that_could_leave_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    blobs = LocalFolderBlobs(tmp_path / "blobs")
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.put(key, b"x")
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.get(key)
    assert not (tmp_path / "blobs").exists()


async def test_key_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await LocalFolderBlobs(tmp_path).put("k" * 513, b"x")


async def test_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = LocalFolderBlobs(tmp_path / "blobs")
    await blobs.put("sesn_a/x/y", b"old")
    with pytest.raises(OSError, match="directory"):
        await blobs.put("sesn_a/x", b"new")  # a folder of that name is in the way
    assert await blobs.get("sesn_a/x/y") == b"old"
    assert list((tmp_path / "blobs" / ".drafts").iterdir()) == []


async def test_same_key_written_at_once_by_many_is_whole(tmp_path: Path) -> None:
    blobs = LocalFolderBlobs(tmp_path / "blobs")
    await asyncio.gather(*(blobs.put("sesn_a/x", bytes([n]) * 50_000) for n in range(8)))
    data = await blobs.get("sesn_a/x")
    assert data == data[:1] * 50_000


async def test_another_process_sees_what_was_put(tmp_path: Path) -> None:
    await LocalFolderBlobs(tmp_path / "blobs").put("sesn_a/x", b"data")
    assert await LocalFolderBlobs(tmp_path / "blobs").get("sesn_a/x") == b"data"
