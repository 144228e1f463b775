"""What every blob store promises: memory, a local folder, and a bucket of a real S3 server."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

import pytest

from efferent.common.blobs.chunks import BLOCK_BYTES
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.blobs.s3 import PART_BYTES, S3Address, S3Blobs
from efferent.common.ports import BlobStore
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from tests.support.s3_server import BUCKET, S3Server, running_s3_server

pytestmark = pytest.mark.timeout(300)  # the first run on a machine builds the S3 server

BAD_KEYS: Final = ("", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".drafts/x", "a/.hidden", "a\0b", "k" * 513)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this file; tests keep apart by their owners."""
    with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def memory_blobs() -> BlobStore:
    return InMemoryBlobs()


@pytest.fixture
def folder_blobs(tmp_path: Path) -> BlobStore:
    return LocalFolderBlobs(tmp_path / "blobs")


@pytest.fixture
async def s3_blobs(s3_server: S3Server) -> AsyncIterator[BlobStore]:
    blobs = S3Blobs(S3Address(s3_server.endpoint, BUCKET, s3_server.access_key, s3_server.secret_key))
    yield blobs
    for entry in [entry async for entry in blobs.entries()]:
        await blobs.delete(entry.key)
    blobs.close()


@pytest.fixture(params=["memory", "folder", "s3"])
def blobs(request: pytest.FixtureRequest) -> BlobStore:
    """Each implementation in turn."""
    return cast("BlobStore", request.getfixturevalue(f"{request.param}_blobs"))


async def chunks(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def keys(blobs: BlobStore, prefix: str = "") -> list[str]:
    return sorted([entry.key async for entry in blobs.entries(prefix)])


async def streamed(blobs: BlobStore, key: str) -> list[bytes]:
    return [block async for block in blobs.get_stream(key)]


async def test_what_was_put_is_got(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/records/rec_1", b"\x00bytes")
    assert await blobs.get("sesn_a/records/rec_1") == b"\x00bytes"
    assert await streamed(blobs, "sesn_a/records/rec_1") == [b"\x00bytes"]


async def test_put_again_replaces(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/x", b"one")
    await blobs.put("sesn_a/x", b"two")
    assert await blobs.get("sesn_a/x") == b"two"


@pytest.mark.parametrize("size_bytes", [0, 1, BLOCK_BYTES, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 7])
async def test_a_stream_is_stored_whole_and_told_its_size_and_hash(blobs: BlobStore, size_bytes: int) -> None:
    data = hashlib.shake_128(b"seed").digest(size_bytes)
    pieces = [data[start : start + 70_000] for start in range(0, size_bytes, 70_000)]
    digest = await blobs.put_stream("file_a/content", chunks(pieces))
    assert (digest.size_bytes, digest.sha256) == (size_bytes, hashlib.sha256(data).hexdigest())
    read = await streamed(blobs, "file_a/content")
    assert b"".join(read) == data
    assert max(map(len, read), default=0) <= BLOCK_BYTES
    assert [entry.size_bytes async for entry in blobs.entries("file_a/")] == [size_bytes]


@pytest.mark.parametrize("size_bytes", [10, 2 * PART_BYTES])
async def test_a_stream_that_fails_stores_nothing_and_passes_its_error_on(blobs: BlobStore, size_bytes: int) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * size_bytes
        raise RuntimeError("the client went away")

    await blobs.put("file_a/content", b"old")
    with pytest.raises(RuntimeError, match="went away"):
        await blobs.put_stream("file_a/content", failing())
    assert await blobs.get("file_a/content") == b"old"
    assert await keys(blobs) == ["file_a/content"]


async def test_a_stream_whose_reader_is_cancelled_stores_nothing(blobs: BlobStore) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * BLOCK_BYTES
            begun.set()
            await asyncio.sleep(0)

    putting = asyncio.create_task(blobs.put_stream("file_a/content", endless()))
    await begun.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await keys(blobs) == []


async def test_unknown_key_is_a_key_error(blobs: BlobStore) -> None:
    await blobs.put("sesn_a/x/y", b"one")
    for key in ("sesn_b/x", "sesn_a/x", "sesn_a/x/y/z"):
        with pytest.raises(KeyError):
            await blobs.get(key)
        with pytest.raises(KeyError):
            await streamed(blobs, key)
        with pytest.raises(KeyError):
            await blobs.copy(key, "sesn_c/x")
    assert await keys(blobs) == ["sesn_a/x/y"]


async def test_a_copy_outlives_what_it_was_copied_from(blobs: BlobStore) -> None:
    await blobs.put("file_a/content", b"data")
    await blobs.copy("file_a/content", "sesn_a/files/file_b")
    await blobs.copy("file_a/content", "sesn_a/files/file_b")
    await blobs.delete("file_a/")
    assert await blobs.get("sesn_a/files/file_b") == b"data"


async def test_what_is_stored_over_an_original_leaves_its_copy_alone(blobs: BlobStore) -> None:
    await blobs.put("file_a/content", b"data")
    await blobs.copy("file_a/content", "sesn_a/files/file_b")
    await blobs.put("file_a/content", b"other")
    assert await blobs.get("sesn_a/files/file_b") == b"data"


async def test_delete_takes_everything_under_the_prefix_and_nothing_else(blobs: BlobStore) -> None:
    for key in ("sesn_a/x", "sesn_a/records/1", "sesn_ab/x"):
        await blobs.put(key, b"data")
    await blobs.delete("sesn_a/")
    await blobs.delete("sesn_a/")
    assert await keys(blobs) == ["sesn_ab/x"]


async def test_delete_by_the_start_of_a_name_takes_all_that_start_so(blobs: BlobStore) -> None:
    for key in ("sesn_a/one", "sesn_a/once", "sesn_a/two"):
        await blobs.put(key, b"data")
    await blobs.delete("sesn_a/on")
    assert await keys(blobs) == ["sesn_a/two"]


async def test_entries_tell_key_and_size_of_what_lies_under_a_prefix(blobs: BlobStore) -> None:
    assert await keys(blobs) == []
    for key in ("sesn_a/x", "sesn_a/records/1", "sesn_b/x", "file_a/content"):
        await blobs.put(key, key.encode())
    assert await keys(blobs) == ["file_a/content", "sesn_a/records/1", "sesn_a/x", "sesn_b/x"]
    assert await keys(blobs, "sesn_a/") == ["sesn_a/records/1", "sesn_a/x"]
    assert await keys(blobs, "sesn_a/rec") == ["sesn_a/records/1"]
    assert await keys(blobs, "sesn_") == ["sesn_a/records/1", "sesn_a/x", "sesn_b/x"]
    assert {entry.key: entry.size_bytes async for entry in blobs.entries("sesn_b/")} == {"sesn_b/x": 8}


async def test_entries_go_on_past_a_thousand(blobs: BlobStore) -> None:
    await asyncio.gather(*(blobs.put(f"sesn_a/{number}", b"") for number in range(1_003)))
    assert len(await keys(blobs, "sesn_a/")) == 1_003


async def test_a_copy_is_as_young_as_its_own_key(blobs: BlobStore) -> None:
    await blobs.put("file_a/content", b"data")
    before = [entry.stored_us async for entry in blobs.entries("file_a/")]
    await blobs.copy("file_a/content", "sesn_a/files/file_b")
    after = [entry.stored_us async for entry in blobs.entries("sesn_a/")]
    assert after >= before


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_what_is_no_key_is_refused(blobs: BlobStore, key: str) -> None:
    for act in (blobs.put(key, b"x"), blobs.put_stream(key, chunks([b"x"])), blobs.get(key), streamed(blobs, key)):
        with pytest.raises(ValueError, match="not a blob key"):
            await act
    for copying in (blobs.copy(key, "a"), blobs.copy("a", key)):
        with pytest.raises((ValueError, KeyError)):
            await copying
    assert await keys(blobs) == []


async def test_same_key_written_at_once_by_many_is_whole(blobs: BlobStore) -> None:
    await asyncio.gather(*(blobs.put("sesn_a/x", bytes([n]) * 50_000) for n in range(8)))
    data = await blobs.get("sesn_a/x")
    assert data == data[:1] * 50_000


async def test_a_store_that_works_says_so(blobs: BlobStore) -> None:
    await blobs.check()
    assert await keys(blobs) == []
