"""What changes while a backup is made: the copy is of one moment, or says what it is not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from efferent.cli.backup import restore, write
from efferent.cli.backup.archive import ArchiveReader, ArchiveWriter
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, NewEndpoint, SigningSecrets
from efferent.common.jetstream import snapshots, streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.metrics import Metrics
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.root_key import SecretSettings

PASSPHRASE = "correct horse battery staple"
ENDPOINT = "wepnt_1"


@asynccontextmanager
async def log(folder: Path) -> AsyncIterator[Connection]:
    """A nats-server of its own without streams."""
    spec = nats_server.ServerSpec(folder=folder, port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], name="test", token=server.token, within_s=20)
        try:
            yield connection
        finally:
            await connection.close()


class Endpoints:
    """Webhook endpoints with their secrets, as a server on this log has them."""

    def __init__(self, connection: Connection, data: Path) -> None:
        control_log = JetStreamControlLog(connection)
        self.aggregates = Aggregates(control_log, LogSets(control_log), SystemClock(), Metrics(), write_deadline_s=5)
        box = SecretBox(JetStreamDataKeys(connection), SecretSettings().root_keys(data))
        self.secrets = SigningSecrets(self.aggregates, box)

    async def secret(self) -> str:
        endpoint = await WEBHOOK_ENDPOINTS.get(self.aggregates, HOME, ENDPOINT)
        return await self.secrets.read(endpoint)


async def test_a_secret_that_is_replaced_while_a_backup_is_made_can_be_read_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "backup"
    for folder in (one, two):
        folder.mkdir()
    monkeypatch.setenv("EFFERENT_DATA_DIR", str(one))
    replaced: list[str] = []
    copy = write._stream

    async with log(tmp_path / "nats_one") as connection:
        await streams.declare(connection)
        endpoints = Endpoints(connection, one)
        await endpoints.secrets.create(None, NewEndpoint(ENDPOINT, "https://example.com/hook", ("session.created",)))

        async def replaced_after_control(
            connection: Connection, archive: ArchiveWriter, name: str
        ) -> snapshots.StreamAs:
            copied = await copy(connection, archive, name)
            if name == subjects.CONTROL:
                replaced.append(await endpoints.secrets.replace(None, ENDPOINT))
            return copied

        monkeypatch.setattr(write, "_stream", replaced_after_control)
        with file.open("wb") as written:
            await write._write_all(connection, LocalFolderBlobs(one / "blobs"), written, PASSPHRASE)
        assert [await endpoints.secret()] == replaced

    async with log(tmp_path / "nats_two") as connection:
        with file.open("rb") as stream:
            archive = ArchiveReader(stream, PASSPHRASE)
            await restore._fill(archive, connection, LocalFolderBlobs(two / "blobs"), two, replicas=1)
        assert [await Endpoints(connection, two).secret()] == replaced
