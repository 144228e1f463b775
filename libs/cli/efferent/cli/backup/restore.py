"""``efferent restore``: makes a server's state from a backup, in an empty data folder (and an empty NATS, where given).

The archive is read to its end before anything is written, so a wrong passphrase or a damaged archive changes nothing.
While it is written a marker stands in the data folder: a folder with it is refused by ``efferent up``, and the next
restore begins by emptying it.
"""

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from pydantic import ValidationError

from efferent.cli.backup.archive import (
    FORMAT,
    ArchiveReader,
    BlobEntry,
    FileEntry,
    LateRecordEntry,
    Manifest,
    StreamEntry,
)
from efferent.cli.backup.encryption import ArchiveError, DamagedArchive
from efferent.cli.backup.passphrase import read_passphrase
from efferent.cli.data_folder import NATS_FOLDER, DataFolder
from efferent.cli.errors import CommandError
from efferent.cli.log_access import connected, refusal
from efferent.cli.run_service import describe
from efferent.cli.up_settings import data_dir
from efferent.common.blobs.opening import open_blobs
from efferent.common.jetstream import snapshots
from efferent.common.jetstream.api import ApiError
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.ports import BlobStore, BlobsUnavailable, LogConflict, LogError
from efferent.common.runtime import nats_server
from efferent.common.runtime.settings import BlobSettings, NatsSettings

_LATE_TRIES_MAX: Final = 5


def main(arguments: argparse.Namespace) -> int:
    """Restore and say what to do next. Raises CommandError."""
    source = Path(arguments.file)
    passphrase = read_passphrase(os.environ)
    try:
        with source.open("rb") as file:
            manifest = _checked(file, passphrase)
            file.seek(0)
            told = asyncio.run(_restore(ArchiveReader(file, passphrase), replicas=arguments.replicas))
    except ArchiveError as error:
        raise CommandError(f"{source}: {error}") from error
    except ValidationError as error:
        raise CommandError(f"a setting is wrong: {describe(error)}") from error
    except LogError as error:
        raise refusal(error) from error
    except (ApiError, nats_server.ServerMissing, nats_server.ServerFailed) as error:
        raise CommandError(f"the log was not restored: {error}; run the restore again") from error
    except BlobsUnavailable as error:
        raise CommandError(f"the blobs were not restored: {error}; run the restore again") from error
    except OSError as error:
        raise CommandError(f"{error.filename or source}: {error.strerror or error}") from error
    print(f"efferent: restored {told}; 'efferent up' starts the server", file=sys.stderr)
    if manifest.root_key == "environment":
        print(
            "efferent: its secrets need the root key that was set by EFFERENT_SECRET_KEY or EFFERENT_SECRET_KEY_FILE",
            file=sys.stderr,
        )
    return 0


def _checked(file: BinaryIO, passphrase: str) -> Manifest:
    """Read the whole archive, which tells whether all of it is there. Raises ArchiveError, CommandError."""
    entries = ArchiveReader(file, passphrase).entries()
    manifest = next(entries, None)
    if not isinstance(manifest, Manifest):
        raise DamagedArchive
    if manifest.format > FORMAT:
        raise CommandError(
            f"the backup has format {manifest.format}, which release {manifest.version} wrote; this release knows "
            f"formats up to {FORMAT}: use the newer release"
        )
    for _ in entries:
        pass
    return manifest


async def _restore(archive: ArchiveReader, *, replicas: int) -> str:
    settings, destination = BlobSettings(), _destination(os.environ)
    folder = DataFolder.open_to_fill(data_dir(os.environ), destination)
    try:
        blobs = open_blobs(settings, folder.path)
        if not folder.unfinished_into:
            await _refuse_blobs(blobs, folder)
        async with _log(folder) as connection:
            await _make_room(connection, folder)
            folder.filling(destination)
            told = await _fill(archive, connection, blobs, folder.path, replicas)
        folder.filled()
        return told
    finally:
        folder.close()


def _destination(environ: Mapping[str, str]) -> str:
    """What tells apart where a restore writes to. A digest, since the address of a log may hold a password."""
    names = ("NATS_URL", "EFFERENT_BLOBS", "EFFERENT_S3_ENDPOINT", "EFFERENT_S3_BUCKET")
    return hashlib.sha256(orjson.dumps([environ.get(name) or None for name in names])).hexdigest()


async def _fill(archive: ArchiveReader, connection: Connection, blobs: BlobStore, data: Path, replicas: int) -> str:
    counts = {"streams": 0, "records": 0, "blobs": 0}
    for entry in archive.entries():
        match entry:
            case Manifest():
                pass
            case FileEntry(name=name):
                _write_private(data / name, b"".join(archive.data()))
            case StreamEntry(name=name, config=config, state=state):
                stream = snapshots.StreamAs(name, config, state)
                await snapshots.restore(connection, stream, _async(archive.data()), replicas=replicas)
                counts["streams"] += 1
                counts["records"] += stream.messages
            case BlobEntry(key=key):
                await blobs.put_stream(key, _async(archive.data()))
                counts["blobs"] += 1
            case LateRecordEntry(subject=subject):
                await _append(connection, subject, b"".join(archive.data()))
    return f"{counts['records']} records in {counts['streams']} streams and {counts['blobs']} blobs"


@asynccontextmanager
async def _log(folder: DataFolder) -> AsyncIterator[Connection]:
    """The log to fill: ``NATS_URL``, else a nats-server on the data folder for the length of the block."""
    if os.environ.get("NATS_URL"):
        async with connected(NatsSettings()) as connection:
            yield connection
        return
    access = folder.nats_access()
    spec = nats_server.ServerSpec(folder=folder.path / NATS_FOLDER, port=access.port, token=access.token)
    async with (
        nats_server.running(spec),
        connected(NatsSettings.model_validate({"url": access.url, "token": access.token})) as connection,
    ):
        yield connection


async def _make_room(connection: Connection, folder: DataFolder) -> None:
    """Refuse a log that has a server's streams, unless an unfinished restore left them. Raises CommandError."""
    in_the_way = await snapshots.streams_on_disk(connection)
    if in_the_way and not folder.unfinished_into:
        folder.filled()
        raise CommandError(f"the log is not empty: it has the streams {', '.join(in_the_way)}; nothing was changed")
    for name in in_the_way:
        await snapshots.delete_stream(connection, name)


async def _refuse_blobs(blobs: BlobStore, folder: DataFolder) -> None:
    async for _ in blobs.entries():
        folder.filled()
        raise CommandError("the store of blobs is not empty; nothing was changed")


async def _append(connection: Connection, subject: str, payload: bytes) -> None:
    log = JetStreamControlLog(connection)
    for _ in range(_LATE_TRIES_MAX):
        newest = await log.last(subject)
        try:
            await log.append(subject, payload, expected=newest.sequence if newest is not None else 0)
        except LogConflict:
            continue
        return
    raise LogConflict(0)


async def _async(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _write_private(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
