"""What every blob store promises."""

from pathlib import Path

import pytest

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.ports import BlobStore
from efferent.common.testing.in_memory_log import InMemoryBlobs


@pytest.fixture(params=["memory", "folder"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Each implementation in turn."""
    return InMemoryBlobs() if request.param == "memory" else LocalFolderBlobs(tmp_path / "blobs")


async def test_what_was_put_is_got(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/records/rec_1", b"\x00bytes")
    assert await blobs.get("sesn_a/records/rec_1") == b"\x00bytes"


async def test_put_again_replaces(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/x", b"one")
    await blobs.put("sesn_a/x", b"two")
    assert await blobs.get("sesn_a/x") == b"two"


async def test_unknown_key_is_a_key_error(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/x/y", b"one")
    for key in ("sesn_b/x", "sesn_a/x", "sesn_a/x/y/z"):
        with pytest.raises(KeyError):
            await blobs.get(key)


async def test_delete_takes_everything_under_the_prefix_and_nothing_else(blobs: BlobStore) -> None:
    for key in ("sesn_a/x", "sesn_a/records/1", "sesn_ab/x"):
        await blobs.put(key, b"data")
    await blobs.delete("sesn_a/")
    await blobs.delete("sesn_a/")
    for key in ("sesn_a/x", "sesn_a/records/1"):
        with pytest.raises(KeyError):
            await blobs.get(key)
    assert await blobs.get("sesn_ab/x") == b"data"


async def test_delete_by_the_start_of_a_name_takes_all_that_start_so(blobs: BlobStore) -> None:
    for key in ("sesn_a/one", "sesn_a/once", "sesn_a/two"):
        await blobs.put(key, b"data")
    await blobs.delete("sesn_a/on")
    assert await blobs.get("sesn_a/two") == b"data"
    for key in ("sesn_a/one", "sesn_a/once"):
        with pytest.raises(KeyError):
            await blobs.get(key)
