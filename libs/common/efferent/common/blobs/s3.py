"""Blobs in a bucket of any S3 service, through ``minio``, which is blocking: it runs in threads of the store's own.

What a process that died left half uploaded is never seen as a blob; a lifecycle rule of the bucket removes it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from efferent.common.blobs.chunks import BLOCK_BYTES, Digester, blocks
from efferent.common.blobs.keys import checked_key, checked_prefix
from efferent.common.blobs.streamed_body import Aborted, StreamedBody
from efferent.common.ports import BlobDigest, BlobEntry, BlobsUnavailable

PART_BYTES: Final = 8 * 1024 * 1024
"""One part of an upload; an upload holds two at most. The protocol's 10,000 parts make 78 GiB."""
THREADS_MAX: Final = 16
UPLOADS_MAX: Final = 8
"""Streamed uploads at once; others wait, so that reads always find a thread."""
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 10.0
"""How long the service may be silent in the middle of a request; then it is asked once more."""
UPLOAD_WAIT_S: Final = 60.0
"""How long a streamed upload waits for its turn."""
_TRIES: Final = urllib3.Retry(total=3, read=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchVersion", "ResourceNotFound"})


@dataclass(frozen=True, slots=True)
class S3Address:
    """Which bucket, and how to get in."""

    endpoint: str
    """``http://host:port`` or ``https://host``."""
    bucket: str
    access_key: str
    secret_key: str
    region: str | None = None
    ca_file: Path | None = None
    """Certificates that an https endpoint may be signed by; None: those that ``certifi`` brings."""


class S3Blobs:
    """Each blob is an object of the bucket, named by its key; see the port ``BlobStore``."""

    def __init__(self, address: S3Address) -> None:
        parts = urlsplit(address.endpoint)
        self._bucket = address.bucket
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="s3")
        self._uploads = asyncio.Semaphore(UPLOADS_MAX)
        self._client = Minio(
            parts.netloc,
            access_key=address.access_key,
            secret_key=address.secret_key,
            region=address.region,
            secure=parts.scheme == "https",
            http_client=_http(address.ca_file),
        )

    async def put(self, key: str, data: bytes) -> None:
        """Store durably: the service has answered. Raises ValueError, BlobsUnavailable."""
        checked_key(key)
        await self._run(self._client.put_object, self._bucket, key, BytesIO(data), len(data))

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobDigest:
        """Store what the chunks add up to, in parts; see the port. Raises ValueError, BlobsUnavailable."""
        checked_key(key)
        digester = Digester()
        async with self._turn():
            body = StreamedBody(asyncio.get_running_loop())
            upload = asyncio.ensure_future(self._run(self._upload, key, body))
            upload.add_done_callback(lambda done: _ended(done, body))
            try:
                async for block in blocks(chunks):
                    digester.add(block)
                    if not await body.give(block):
                        break
                await body.end()
                await asyncio.shield(upload)
            except BaseException:
                body.abort()
                await asyncio.wait([upload], timeout=ANSWER_TIMEOUT_S)
                raise
        return digester.digest()

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError when there are none, ValueError, BlobsUnavailable."""
        checked_key(key)
        return await self._run(self._download, key)

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """The bytes in blocks. Raises KeyError when there are none, ValueError, BlobsUnavailable."""
        checked_key(key)
        response = await self._run(self._client.get_object, self._bucket, key)
        try:
            while block := await self._run(response.read, BLOCK_BYTES):
                yield block
        finally:
            response.close()
            response.release_conn()

    async def copy(self, source: str, target: str) -> None:
        """Copy inside the service. Raises KeyError, ValueError, BlobsUnavailable."""
        checked_key(target)
        origin = CopySource(self._bucket, checked_key(source))
        await self._run(self._client.copy_object, self._bucket, target, origin)

    async def delete(self, prefix: str) -> None:
        """Delete every blob whose key starts with the prefix; repeating it is harmless. Raises BlobsUnavailable."""
        checked_prefix(prefix)
        await self._run(self._delete_all, prefix)

    async def entries(self, prefix: str = "") -> AsyncGenerator[BlobEntry]:
        """Every blob whose key starts with the prefix; the service lists 1,000 at a time."""
        if prefix:
            checked_prefix(prefix)
        listed = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        while page := await self._run(_page, listed):
            for entry in page:
                yield entry

    async def check(self) -> None:
        """Ask for the bucket. Raises BlobsUnavailable."""
        if not await self._run(self._client.bucket_exists, self._bucket):
            raise BlobsUnavailable(f"the S3 service has no bucket {self._bucket!r}: make it, or name another")

    async def sweep_drafts(self) -> int:
        """Nothing: see the lifecycle rule above."""
        return 0

    def close(self) -> None:
        """End the threads; the store is not used afterwards."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        def call() -> R:
            with _mapped():
                return function(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(UPLOAD_WAIT_S):
                await self._uploads.acquire()
        except TimeoutError as error:
            raise BlobsUnavailable(f"{UPLOADS_MAX} uploads to the S3 service are under way already") from error
        try:
            yield
        finally:
            self._uploads.release()

    def _upload(self, key: str, body: StreamedBody) -> None:
        # One part at a time: minio would read ahead in parallel uploads, and hold all that it has read.
        stream = cast("BinaryIO", body)  # all that minio asks of a stream is that it can be read
        self._client.put_object(self._bucket, key, stream, length=-1, part_size=PART_BYTES, num_parallel_uploads=1)

    def _download(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            data: bytes = response.read()
            return data
        finally:
            response.close()
            response.release_conn()

    def _delete_all(self, prefix: str) -> None:
        listed = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        doomed = [DeleteObject(_name(item)) for item in listed]
        for failure in self._client.remove_objects(self._bucket, doomed):
            raise BlobsUnavailable(f"the S3 service did not delete an object: {failure.code}")


def _ended(upload: "asyncio.Future[None]", body: StreamedBody) -> None:
    body.stop_reading()
    if not upload.cancelled():
        upload.exception()  # whoever waits for it gets it; nobody may be left to wait


def _http(ca_file: Path | None) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=ANSWER_TIMEOUT_S),
        maxsize=THREADS_MAX,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where() if ca_file is None else str(ca_file),
        retries=_TRIES,
    )


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn what minio raises into what the port raises. Messages of the service are not passed on: they name keys."""
    try:
        yield
    except Aborted:
        raise
    except S3Error as error:
        if error.code in _MISSING:
            raise KeyError(error.object_name) from error
        raise BlobsUnavailable(f"the S3 service refused: {error.code}") from error
    except (InvalidResponseError, ServerError, MinioException) as error:
        raise BlobsUnavailable(f"the S3 service failed: {type(error).__name__}") from error
    except urllib3.exceptions.HTTPError as error:
        raise BlobsUnavailable(f"the S3 service does not answer: {type(error).__name__}") from error


def _page(listed: Iterator[Object]) -> list[BlobEntry]:
    page: list[BlobEntry] = []
    for item in listed:
        modified = item.last_modified
        stored_us = round(modified.timestamp() * 1_000_000) if modified is not None else 0
        page.append(BlobEntry(_name(item), item.size or 0, stored_us))
        if len(page) == 1_000:
            break
    return page


def _name(item: Any) -> str:
    name: str = item.object_name
    return name
