"""Backup and restore of a server whose log and blobs are elsewhere: a NATS that others use too, and an S3 bucket."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from anthropic import AsyncAnthropic

from efferent.common.jetstream import api
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import RunningServer, ServerSpec, new_token, running
from tests.support.backups import PASSPHRASE, efferent, everything
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import Played, message, of_type, text_of
from tests.support.s3_server import S3Server, running_s3_server

LARGE: Final = "large " * 60_000
"""A message whose record becomes a blob."""
THEIRS: Final = {"name": "ORDERS", "subjects": ["orders.>"], "storage": "file"}
"""A stream of somebody else on the same NATS."""

pytestmark = pytest.mark.timeout(300)  # the first run on a machine builds the S3 server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@contextlib.asynccontextmanager
async def shared_nats(folder: Path) -> AsyncIterator[RunningServer]:
    """A nats-server that somebody else uses too."""
    async with running(ServerSpec(folder=folder, port=free_port(), token=new_token())) as nats:
        async with connected(nats) as connection:
            await api.call(connection, "STREAM.CREATE.ORDERS", THEIRS)
            await connection.request("orders.1", b"theirs", timeout_s=5)
        yield nats


@contextlib.asynccontextmanager
async def connected(nats: RunningServer) -> AsyncIterator[Connection]:
    connection = await connect((nats.url,), name="test", token=nats.token)
    try:
        yield connection
    finally:
        await connection.close()


async def held(nats: RunningServer) -> dict[str, int]:
    """The streams of a server and how many messages each has."""
    async with connected(nats) as connection:
        streams = (await api.call(connection, "STREAM.LIST", {}))["streams"]
        return {each["config"]["name"]: each["state"]["messages"] for each in streams}


def elsewhere(nats: RunningServer, s3: S3Server, bucket: str) -> dict[str, str]:
    """Variables by which a server and its commands find this log and this bucket, which is made if need be."""
    (s3.folder / bucket).mkdir(exist_ok=True)
    log = {"NATS_URL": nats.url, "EFFERENT_NATS_TOKEN": nats.token}
    return {**s3.environ, **log, "EFFERENT_S3_BUCKET": bucket}


@contextlib.asynccontextmanager
async def serving(data: Path, environ: Mapping[str, str]) -> AsyncIterator[AsyncAnthropic]:
    server = EfferentServer(data, environ)
    await asyncio.to_thread(server.start)
    try:
        assert "nats" not in server.pids()
        async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client:
            yield client
    finally:
        assert await asyncio.to_thread(server.stop) == 0
    assert server.errors() == []
    assert not (data / "blobs").exists()


async def command(data: Path, environ: Mapping[str, str], *words: str) -> tuple[int, str]:
    """Run a command; its exit code and what it told."""
    done = await asyncio.to_thread(efferent, data, *words, **environ)
    return done.returncode, done.stderr


async def make_history(client: AsyncAnthropic) -> dict[str, Any]:
    """A session with a record that is a blob, a file, and a secret."""
    played = await Played.create(client, model="offline/echo")
    await played.until_idle(message(LARGE))
    await client.beta.files.upload(file=("notes.txt", b"kept", "text/plain"))
    vault = await client.beta.vaults.create(display_name="keys")
    auth: Any = {"type": "static_bearer", "token": "kept-secret", "mcp_server_url": "https://mcp.example.com/mcp"}
    await client.beta.vaults.credentials.create(vault.id, auth=auth)
    return await shown(client, played.id)


async def shown(client: AsyncAnthropic, session_id: str) -> dict[str, Any]:
    files = [file.to_dict(mode="json") async for file in client.beta.files.list()]
    return {**await everything(client, [session_id]), "files": files}


async def test_what_is_elsewhere_is_backed_up_and_restored_elsewhere(s3: S3Server, tmp_path: Path) -> None:
    archive = str(tmp_path / "backup")
    async with shared_nats(tmp_path / "one") as one, shared_nats(tmp_path / "two") as two:
        source, target = elsewhere(one, s3, "source"), elsewhere(two, s3, "target")
        async with serving(tmp_path / "data", source) as client:
            before = await make_history(client)
            code, told = await command(tmp_path / "data", source, "backup", archive)
            assert code == 0, told
        copied = await held(one)

        code, told = await command(tmp_path / "restored", target, "restore", archive)
        assert code == 0, told
        restored = await held(two)
        assert set(restored) >= {"SESSIONS", "CONTROL", "KEYS", "WORK", "ORDERS"}
        assert {name: restored[name] for name in ("KEYS", "ORDERS")} == {"KEYS": copied["KEYS"], "ORDERS": 1}
        assert s3.secret_key not in told

        async with serving(tmp_path / "restored", target) as client:
            (session_id,) = before["sessions"]
            assert await shown(client, session_id) == before
            went_on = await Played(client, session_id).until_idle(message("$ echo after the restore"))
            assert text_of(of_type(went_on, "agent.tool_result")[0]).strip() == "after the restore"

        # What holds something is never written over, and stays as it is.
        now = await held(two)
        code, told = await command(tmp_path / "again", elsewhere(two, s3, "empty"), "restore", archive)
        assert (code, "the log is not empty: it has the streams SESSIONS" in told) == (2, True), told
        assert await held(two) == now
        async with shared_nats(tmp_path / "three") as three:
            code, told = await command(tmp_path / "again", elsewhere(three, s3, "target"), "restore", archive)
            assert (code, "the store of blobs is not empty" in told) == (2, True), told
            assert await held(three) == {"ORDERS": 1}


async def killed_while_it_writes(data: Path, environ: Mapping[str, str], archive: str) -> None:
    told = {**os.environ, **environ, "EFFERENT_DATA_DIR": str(data), "EFFERENT_BACKUP_PASSPHRASE": PASSPHRASE}
    words = ("-m", "efferent.cli.main", "restore", archive)
    process = await asyncio.create_subprocess_exec(sys.executable, *words, env=told, stderr=subprocess.PIPE)
    marker = data / "restoring"
    try:
        while not (marker.exists() and marker.read_text()):
            assert process.returncode is None
            await asyncio.sleep(0.005)
        assert process.returncode is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_restore_that_failed_elsewhere_never_deletes_what_it_did_not_write(
    s3: S3Server, tmp_path: Path
) -> None:
    """The marker of an unfinished restore lets the next one empty the log that it began to fill, and no other."""
    archive, data = str(tmp_path / "backup"), tmp_path / "data"
    async with shared_nats(tmp_path / "one") as one, shared_nats(tmp_path / "two") as two:
        source, target = elsewhere(one, s3, "in-use"), elsewhere(two, s3, "fresh")
        async with serving(tmp_path / "source", source) as client:
            large = os.urandom(16 * 1024 * 1024)  # time enough to be killed
            await client.beta.files.upload(file=("large.bin", large, "application/octet-stream"))
            await make_history(client)
            assert (await command(tmp_path / "source", source, "backup", archive))[0] == 0
        in_use = await held(one)

        # It did not even reach the log; corrected variables then name one that is in use.
        wrong = {**source, "EFFERENT_S3_BUCKET": "fresh", "EFFERENT_NATS_TOKEN": "wrong"}
        assert (await command(data, wrong, "restore", archive))[0] == 2
        assert (data / "restoring").exists()
        code, told = await command(data, {**source, "EFFERENT_S3_BUCKET": "fresh"}, "restore", archive)
        assert (code, "the log is not empty" in told) == (2, True), told

        # It was killed while it wrote: it goes on where it began, and nowhere else.
        await killed_while_it_writes(data, target, archive)
        code, told = await command(data, {**source, "EFFERENT_S3_BUCKET": "fresh"}, "restore", archive)
        assert (code, "wrote to another log or another store of blobs" in told) == (2, True), told
        assert await held(one) == in_use
        code, told = await command(data, target, "restore", archive)
        assert code == 0, told
        assert not (data / "restoring").exists()
        leases = {"LEASES": in_use["LEASES"]}  # in memory: about the present
        assert await held(two) | leases == in_use
        assert blobs(s3, "fresh") == blobs(s3, "in-use")


def blobs(s3: S3Server, bucket: str) -> dict[str, int]:
    """The objects of a bucket and their sizes, but for what the sweep of one store notes about itself."""
    folder = s3.folder / bucket
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {name: size for name, size in files.items() if not name.startswith((".", "sweep/"))}
