"""An S3 service that is away, refuses, or dies in the middle: said clearly, and never with a key in the message."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from efferent.common.blobs import s3, streamed_body
from efferent.common.blobs.opening import open_blobs
from efferent.common.blobs.s3 import PART_BYTES, UPLOADS_MAX, S3Address, S3Blobs
from efferent.common.ports import BlobsUnavailable
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.settings import BlobSettings
from libs.common.tests.files.chunked import chunked
from tests.support.s3_server import BUCKET, S3Server, running_s3_server

pytestmark = pytest.mark.timeout(300)  # the first run on a machine builds the S3 server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


def address(server: S3Server) -> S3Address:
    return S3Address(server.endpoint, BUCKET, server.access_key, server.secret_key)


async def refusal(blobs: S3Blobs) -> str:
    """What every operation says, which is the same."""
    said = set()
    for acting in (blobs.check(), blobs.put("a/b", b"x"), blobs.get("a/b"), blobs.put_stream("a/b", chunked(b"x"))):
        with pytest.raises(BlobsUnavailable) as caught:
            await acting
        said.add(str(caught.value))
    blobs.close()
    return " | ".join(sorted(said))


async def test_a_service_that_is_away_does_not_answer(server: S3Server) -> None:
    away = replace(address(server), endpoint=f"http://127.0.0.1:{free_port()}")
    assert await refusal(S3Blobs(away)) == "the S3 service does not answer: MaxRetryError"


async def test_a_wrong_key_is_refused_and_not_repeated(server: S3Server) -> None:
    said = await refusal(S3Blobs(replace(address(server), secret_key="wrong-secret-key-0f1e2d")))
    assert "the S3 service refused: SignatureDoesNotMatch" in said
    assert "wrong-secret" not in said
    assert server.access_key not in said


async def test_a_bucket_that_is_not_there_is_named(server: S3Server) -> None:
    said = await refusal(S3Blobs(replace(address(server), bucket="another")))
    assert "the S3 service has no bucket 'another': make it, or name another" in said


async def test_a_service_that_dies_in_an_upload_fails_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_s3_server(tmp_path_factory.mktemp("dying")) as dying:
        blobs = S3Blobs(address(dying))

        async def long() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * PART_BYTES
            dying.kill()
            while True:
                yield b"x" * PART_BYTES

        with pytest.raises(BlobsUnavailable, match="the S3 service does not answer"):
            await blobs.put_stream("a/b", long())
        blobs.close()


async def test_a_service_that_never_answers_is_given_up(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "ANSWER_TIMEOUT_S", 0.1)
    ended = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        blobs = S3Blobs(replace(address(server), endpoint=f"http://127.0.0.1:{port}", region="us-east-1"))
        with pytest.raises(BlobsUnavailable, match="the S3 service does not answer"):
            await blobs.put("a/b", b"x")
        ended.set()
    blobs.close()


async def test_an_upload_whose_turn_never_comes_is_refused(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "UPLOAD_WAIT_S", 0.05)
    monkeypatch.setattr(s3, "UPLOADS_MAX", 1)
    blobs, go_on = S3Blobs(address(server)), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"x"

    first = asyncio.create_task(blobs.put_stream("u/1", waiting()))
    await asyncio.sleep(0)
    with pytest.raises(BlobsUnavailable, match="1 uploads to the S3 service are under way already"):
        await blobs.put_stream("u/2", chunked(b"x"))
    go_on.set()
    await first
    blobs.close()


async def test_a_source_that_brings_nothing_is_given_up(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_body, "READ_WAIT_S", 0.05)
    blobs, given_up = S3Blobs(address(server)), asyncio.Event()
    stop_reading = streamed_body.StreamedBody.stop_reading

    def told(body: streamed_body.StreamedBody) -> None:
        stop_reading(body)
        given_up.set()

    monkeypatch.setattr(streamed_body.StreamedBody, "stop_reading", told)

    async def mute() -> AsyncIterator[bytes]:
        await given_up.wait()
        yield b"x"

    with pytest.raises(BlobsUnavailable, match="nothing came to be stored"):
        await blobs.put_stream("u/1", mute())
    blobs.close()


async def test_uploads_over_the_limit_wait_while_reads_go_on(server: S3Server) -> None:
    blobs, go_on = S3Blobs(address(server)), asyncio.Event()
    begun: list[int] = []
    await blobs.put("a/b", b"x")

    async def waiting(number: int) -> AsyncIterator[bytes]:
        begun.append(number)
        await go_on.wait()
        yield b"x"

    uploads = [
        asyncio.create_task(blobs.put_stream(f"u/{number}", waiting(number))) for number in range(UPLOADS_MAX + 3)
    ]
    assert await blobs.get("a/b") == b"x"
    assert len(begun) == UPLOADS_MAX
    go_on.set()
    await asyncio.gather(*uploads)
    assert len(begun) == UPLOADS_MAX + 3
    blobs.close()


@pytest.fixture
def key_folder(server: S3Server, tmp_path: Path) -> Path:
    (tmp_path / "access").write_text(server.access_key + "\n")
    (tmp_path / "secret").write_text(server.secret_key + "\n")
    return tmp_path


async def test_settings_open_the_bucket_with_keys_from_files(server: S3Server, key_folder: Path) -> None:
    settings = BlobSettings(
        backend="s3",
        endpoint=server.endpoint,
        bucket=BUCKET,
        access_key_file=key_folder / "access",
        secret_key_file=key_folder / "secret",
    )
    await open_blobs(settings, key_folder).check()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "needs EFFERENT_S3_ENDPOINT"),
        ({"endpoint": "play.example.com"}, "needs EFFERENT_S3_ENDPOINT: http://host:port or https://host, no path"),
        ({"endpoint": "http://h/bucket"}, "needs EFFERENT_S3_ENDPOINT"),
        ({"endpoint": "http://h"}, "needs EFFERENT_S3_BUCKET"),
        ({"endpoint": "http://h", "bucket": "b"}, "needs either EFFERENT_S3_ACCESS_KEY or EFFERENT_S3_ACCESS_KEY_FILE"),
        (
            {"endpoint": "http://h", "bucket": "b", "access_key": "sEcReT-a"},
            "needs either EFFERENT_S3_SECRET_KEY or EFFERENT_S3_SECRET_KEY_FILE",
        ),
    ],
)
def test_settings_that_are_not_complete_say_what_is_missing(given: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        BlobSettings.model_validate({"backend": "s3", **given})
    assert "sEcReT" not in str(caught.value)
