"""The whole server with its blobs in a real S3 service: files, large records, a kill in the middle of an upload."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from anthropic import AsyncAnthropic

from tests.integration.conftest import model_environ
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import Played, message
from tests.support.raw_api import HEADERS
from tests.support.s3_server import BUCKET, S3Server, running_s3_server

pytestmark = pytest.mark.timeout(300)  # the first run on a machine builds the S3 server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def s3_backed(tmp_path_factory: pytest.TempPathFactory, model_url: str, s3: S3Server) -> Iterator[EfferentServer]:
    folder = tmp_path_factory.mktemp("efferent-s3")
    running = EfferentServer(folder / "data", model_environ(model_url, folder) | s3.environ)
    running.start()
    yield running
    code = running.stop()
    assert code == 0, running.tail()
    assert running.errors() == []
    assert s3.secret_key not in running.log_file.read_text()


@pytest.fixture
async def s3_client(s3_backed: EfferentServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=s3_backed.base_url, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk


def objects(s3: S3Server) -> list[str]:
    bucket = s3.folder / BUCKET
    found = [path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.startswith((".", "sweep/")))


async def test_files_are_objects_of_the_bucket_and_nothing_is_on_the_disk(
    s3_client: AsyncAnthropic, s3_backed: EfferentServer, s3: S3Server
) -> None:
    made = await s3_client.beta.files.upload(file=("a.bin", os.urandom(20 * 1024 * 1024), "application/x-test"))
    assert f"{made.id}/content" in objects(s3)
    assert not (s3_backed.data_dir / "blobs").exists()
    await s3_client.beta.files.delete(made.id)
    assert f"{made.id}/content" not in objects(s3)


async def test_a_turn_with_a_record_too_large_for_the_log_is_read_from_the_bucket(
    s3_client: AsyncAnthropic, s3: S3Server
) -> None:
    played = await Played.create(s3_client)
    await played.until_idle(message("x" * 400_000))
    assert any(name.startswith(f"{played.id}/records/") for name in objects(s3))
    assert len(await played.events()) > 1
    await s3_client.beta.sessions.delete(played.id)
    assert not any(name.startswith(f"{played.id}/") for name in objects(s3))


async def test_an_upload_that_dies_with_the_gateway_is_no_file(
    s3_client: AsyncAnthropic, s3_backed: EfferentServer, s3: S3Server
) -> None:
    before, begun = objects(s3), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        while True:
            yield bytes(1024 * 1024)
            begun.set()

    headers = HEADERS | {"content-type": "multipart/form-data; boundary=b"}
    async with aiohttp.ClientSession() as http:
        uploading = asyncio.create_task(http.post(f"{s3_backed.base_url}/v1/files", data=body(), headers=headers))
        await begun.wait()
        await asyncio.to_thread(s3_backed.kill, "gateway")
        with pytest.raises(aiohttp.ClientError):
            await uploading
    await asyncio.to_thread(s3_backed.wait_ready)
    assert [file.id async for file in s3_client.beta.files.list()] == []
    assert objects(s3) == before
