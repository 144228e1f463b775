"""``efferent backup``: writes the log, the blobs and the keys of a running server into one encrypted file.

The order makes the copy consistent while everybody goes on writing. A stream is copied before what it depends on:
sessions, then the control plane that they name, then the keys of its secrets, then the blobs that records of both name
and that were stored before those records. What was deleted meanwhile is told by late records at the end. A secret that
is replaced loses its old key, so the control plane is brought up to date by late records right before the keys are
copied. No blob is swept while the backup reads.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from pydantic import ValidationError

from efferent.cli.backup.archive import (
    ArchiveWriter,
    BlobEntry,
    FileEntry,
    LateRecordEntry,
    Manifest,
    StreamEntry,
)
from efferent.cli.backup.passphrase import read_passphrase
from efferent.cli.errors import CommandError
from efferent.cli.log_access import connected, log_settings, refusal
from efferent.cli.run_service import describe
from efferent.common.blobs.opening import open_blobs
from efferent.common.blobs.sweep import PAUSED_KEY
from efferent.common.domain import timestamp
from efferent.common.jetstream import snapshots, subjects
from efferent.common.jetstream.api import ApiError
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.ports import BlobStore, BlobsUnavailable, LogError
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.settings import BlobSettings, HostSettings
from efferent.common.secrets.root_key import FILE_NAME as ROOT_KEY_FILE
from efferent.common.secrets.root_key import SecretSettings

_SWEEP_KEYS: Final = "sweep/"
"""What a sweep notes about one store and one log is of no use in another."""
_END_DEEDS: Final = (".deleted", ".archived")


def main(arguments: argparse.Namespace) -> int:
    """Write the backup and print what it holds. Raises CommandError."""
    target = Path(arguments.file)
    passphrase = read_passphrase(os.environ)
    if target.exists():
        raise CommandError(f"{target} exists already: a backup never overwrites")
    try:
        told = asyncio.run(_write(target, passphrase))
    except ValidationError as error:
        raise CommandError(f"a setting is wrong: {describe(error)}") from error
    except LogError as error:
        raise refusal(error) from error
    except ApiError as error:
        raise CommandError(f"the log refused: {error}") from error
    except BlobsUnavailable as error:
        raise CommandError(f"the blobs cannot be read: {error}") from error
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror or error}") from error
    print(f"efferent: {target} holds {told} ({target.stat().st_size} bytes)", file=sys.stderr)
    return 0


async def _write(target: Path, passphrase: str) -> str:
    """Write into a draft beside the target, which gets its name when all is on the disk. Returns what it holds."""
    draft = target.with_name(f"{target.name}.unfinished")
    blobs = open_blobs(BlobSettings(), HostSettings().data_dir)
    async with connected(log_settings(os.environ)) as connection:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                async with _no_sweep(blobs):
                    told = await _write_all(connection, blobs, file, passphrase)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)
    return told


async def _write_all(connection: Connection, blobs: BlobStore, file: BinaryIO, passphrase: str) -> str:
    data_dir = HostSettings().data_dir
    archive = ArchiveWriter(file, passphrase)
    archive.whole(_manifest(data_dir))
    for name in ("secret.key", "api_key"):
        _file(archive, data_dir, FileEntry.model_validate({"name": name}))
    names = await snapshots.streams_on_disk(connection)
    messages, control_end, late = 0, 0, 0
    for name in _in_order(names):
        if name == subjects.KEYS:
            count, control_end = await _late_records(connection, archive, control_end, deeds=("",))
            late += count
        stream = await _stream(connection, archive, name)
        messages += stream.messages
        if name == subjects.CONTROL:
            control_end = stream.last_sequence
    blob_count = await _blobs(archive, blobs)
    late += (await _late_records(connection, archive, control_end, deeds=_END_DEEDS))[0]
    archive.finish()
    return f"{messages} records in {len(names)} streams, {blob_count} blobs, {late} late records"


def _manifest(data_dir: Path) -> Manifest:
    settings = SecretSettings()
    has_own = settings.key is None and settings.key_file is None
    return Manifest(
        created_at=timestamp.from_epoch_us(SystemClock().now_us()),
        version=version("efferent"),
        root_key="environment" if not has_own else "archive" if (data_dir / ROOT_KEY_FILE).exists() else "none",
    )


def _file(archive: ArchiveWriter, data_dir: Path, entry: FileEntry) -> None:
    with contextlib.suppress(FileNotFoundError):
        archive.whole(entry, (data_dir / entry.name).read_bytes())


def _in_order(names: list[str]) -> list[str]:
    """What depends on other streams before them. KEYS last: a key is stored before what it encrypts is recorded."""
    order = {subjects.SESSIONS: 1, subjects.CONTROL: 2, subjects.KEYS: 3}
    return sorted(names, key=lambda name: (order.get(name, 0), name))


async def _stream(connection: Connection, archive: ArchiveWriter, name: str) -> snapshots.StreamAs:
    async with snapshots.snapshot(connection, name) as (stream, chunks):
        archive.begin(StreamEntry(name=stream.name, config=stream.config, state=stream.state))
        async for chunk in chunks:
            archive.data(chunk)
        archive.end()
    return stream


async def _blobs(archive: ArchiveWriter, blobs: BlobStore) -> int:
    count = 0
    async for entry in blobs.entries():
        if entry.key.startswith(_SWEEP_KEYS):
            continue
        begun = False
        with contextlib.suppress(KeyError):  # deleted meanwhile: what named it is told by a late record
            async with contextlib.aclosing(blobs.get_stream(entry.key)) as chunks:
                async for chunk in chunks:
                    if not begun:
                        archive.begin(BlobEntry(key=entry.key))
                        begun = True
                    archive.data(chunk)
            if not begun:
                archive.begin(BlobEntry(key=entry.key))
                begun = True
        if begun:
            archive.end()
            count += 1
    return count


async def _late_records(
    connection: Connection, archive: ArchiveWriter, after: int, *, deeds: tuple[str, ...]
) -> tuple[int, int]:
    """Write what happened after the snapshot of ``CONTROL`` and ends with one of these words.

    Of what ended, blobs and keys may be missing in the copy. Returns how many records were written, and the sequence of
    the last one that was looked at.
    """
    count = 0
    async for raw in JetStreamControlLog(connection).read(subjects.all_of(subjects.CONTROL), after=after):
        after = raw.sequence
        if str(orjson.loads(raw.payload).get("type", "")).endswith(deeds):
            archive.whole(LateRecordEntry(subject=raw.subject), raw.payload)
            count += 1
    return count, after


@contextlib.asynccontextmanager
async def _no_sweep(blobs: BlobStore) -> AsyncIterator[None]:
    """Keep sweeps of blobs away for the length of the block. Raises BlobsUnavailable."""
    await blobs.put(PAUSED_KEY, b"")
    try:
        yield
    finally:
        with contextlib.suppress(BlobsUnavailable):  # it counts for a day only
            await blobs.delete(PAUSED_KEY)
