"""What the largest file costs the gateway while it comes in: memory above what it had before, and time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp

from tests.bench import processes
from tests.bench.figures import Figure
from tests.bench.stage import Stage
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.s3_server import running_s3_server

GROUP: Final = "the largest file, uploaded to the gateway"
WANTED_MB: Final = "< 64"
UPLOAD_WAIT_S: Final = 300.0
_MIB: Final = 1024 * 1024
_BOUNDARY: Final = "efferent-bench-boundary"
_HEAD: Final = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
_TAIL: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()


async def largest_file(at: Stage) -> list[Figure]:
    """Upload to the server as it is (a local folder), then to one whose blobs are in an S3 service."""
    figures = await _measured("local folder", at.server, at.sizes.upload_bytes)
    folder = at.folder / "s3"
    folder.mkdir()
    with running_s3_server(folder) as s3, _started(EfferentServer(at.folder / "data-s3", s3.environ)) as server:
        figures += await _measured("S3", server, at.sizes.upload_bytes)
    return figures


@contextlib.contextmanager
def _started(server: EfferentServer) -> Iterator[EfferentServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def _measured(backend: str, server: EfferentServer, size_bytes: int) -> list[Figure]:
    await _upload(server, _MIB)  # what every first upload needs once
    pid = server.pids()["gateway"]
    processes.restart_peak(pid)
    before_bytes = processes.peak_bytes(pid)
    started_s = time.monotonic()
    await _upload(server, size_bytes)
    seconds = time.monotonic() - started_s
    size_mb = size_bytes / _MIB
    extra_mb = (processes.peak_bytes(pid) - before_bytes) / _MIB
    return [
        Figure(GROUP, f"{backend}: memory above that before, {size_mb:.0f} MB", extra_mb, "MB", None, WANTED_MB),
        Figure(GROUP, f"{backend}: rate", size_mb / seconds, "MB/s"),
    ]


async def _upload(server: EfferentServer, size_bytes: int) -> None:
    headers = {
        "x-api-key": API_KEY,
        "anthropic-version": "2026-10-21",
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(_HEAD) + size_bytes + len(_TAIL)),
    }
    timeout = aiohttp.ClientTimeout(total=UPLOAD_WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        async with http.post(f"{server.base_url}/v1/files", data=_body(size_bytes), headers=headers) as response:
            answer = await response.json()
            if response.status != 200 or answer["size_bytes"] != size_bytes:
                raise RuntimeError(f"the upload was answered {response.status}: {answer}")
            path = f"{server.base_url}/v1/files/{answer['id']}"
        async with http.delete(path, headers=headers | {"Content-Length": "0"}) as response:
            response.raise_for_status()


async def _body(size_bytes: int) -> AsyncIterator[bytes]:
    block = bytes(_MIB)
    yield _HEAD
    for start in range(0, size_bytes, _MIB):
        yield block[: size_bytes - start]
        await asyncio.sleep(0)
    yield _TAIL
