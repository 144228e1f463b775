"""Blobs in a folder of the local disk: durable before they are named, whole or absent, never half."""

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from efferent.common.blobs.chunks import BLOCK_BYTES, Digester, blocks
from efferent.common.blobs.keys import checked_key, checked_prefix
from efferent.common.ports import BlobDigest, BlobEntry, BlobsUnavailable

DRAFT_AGE_S: Final = 60.0
"""A draft that nobody holds is left behind by a process that died, unless it was made this moment."""
_DRAFTS: Final = ".drafts"
"""No key starts with a dot, so drafts can never be taken for blobs."""
_TRIES: Final = 16
"""How often a step is taken again after somebody else deleted or made a folder in the middle of it."""
_UNAVAILABLE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOTEMPTY}
)


class LocalFolderBlobs:
    """Each blob is a file below ``folder``, named by its key; see the port ``BlobStore``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, data: bytes) -> None:
        """Store durably: the file and its folders are fsynced. Raises ValueError, BlobsUnavailable, OSError."""
        await _in_thread(_write, self._folder, self._path(key), (data,))

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobDigest:
        """Store what the chunks add up to; see the port. Raises ValueError, BlobsUnavailable, OSError."""
        path, digester = self._path(key), Digester()
        draft = await _in_thread(_Draft, self._folder)
        try:
            async for block in blocks(chunks):
                await _in_thread(draft.write, block, digester)
            await _in_thread(draft.publish, path)
        finally:
            draft.discard()
        return digester.digest()

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError when there are none, ValueError, OSError."""
        path = self._path(key)
        with _missing_is_key_error(key):
            return await _in_thread(path.read_bytes)

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """The bytes in blocks. A blob that is deleted meanwhile is still read to its end."""
        path = self._path(key)
        with _missing_is_key_error(key):
            file = await _in_thread(path.open, "rb")
        with file:
            while block := await _in_thread(file.read, BLOCK_BYTES):
                yield block

    async def copy(self, source: str, target: str) -> None:
        """Give the file a second name. Raises KeyError, ValueError, BlobsUnavailable, OSError."""
        with _missing_is_key_error(source):
            await _in_thread(_link, self._folder, self._path(source), self._path(target))

    async def delete(self, prefix: str) -> None:
        """Delete every blob whose key starts with the prefix; repeating it is harmless. Raises ValueError, OSError."""
        path = self._folder / checked_prefix(prefix).removesuffix("/")
        await _in_thread(_delete, path, prefix.endswith("/"))

    async def entries(self, prefix: str = "") -> AsyncGenerator[BlobEntry]:
        """Every blob whose key starts with the prefix; the folders of one owner are read at a time."""
        if prefix:
            checked_prefix(prefix)
        owner, slash, _ = prefix.partition("/")
        owners = [owner] if slash else await _in_thread(_names, self._folder)
        for name in owners:
            for entry in await _in_thread(_entries, self._folder, name):
                if entry.key.startswith(prefix):
                    yield entry

    async def check(self) -> None:
        """Write and delete a draft. Raises BlobsUnavailable."""
        try:
            draft = await _in_thread(_Draft, self._folder)
        except OSError as error:
            raise BlobsUnavailable(error.errno, f"the folder of blobs cannot be written: {error.strerror}") from error
        draft.discard()

    async def sweep_drafts(self) -> int:
        """Delete what processes that died left half written; how many. Raises OSError."""
        return await _in_thread(_sweep_drafts, self._folder / _DRAFTS)

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)


class _Draft:
    """A file that has no key yet. Its writer holds a lock on it, so a sweep knows that it is not left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _make_folder(folder / _DRAFTS)
        self._path = folder / _DRAFTS / secrets.token_hex(16)
        self._file: IO[bytes] = self._path.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, block: bytes, digester: Digester | None = None) -> None:
        self._file.write(block)
        if digester is not None:
            digester.add(block)

    def publish(self, path: Path) -> None:
        """Give it its key, once its bytes are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        _place(self._path, path)

    def discard(self) -> None:
        """Delete it unless it was published."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk fails the last flush too; the draft is gone all the same
            self._file.close()


async def _in_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except OSError as error:
        if error.errno in _UNAVAILABLE:
            raise BlobsUnavailable(error.errno, f"the folder of blobs: {error.strerror}") from error
        raise


@contextlib.contextmanager
def _missing_is_key_error(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise KeyError(key) from error


def _write(folder: Path, path: Path, data: Iterable[bytes]) -> None:
    draft = _Draft(folder)
    try:
        for block in data:
            draft.write(block)
        draft.publish(path)
    finally:
        draft.discard()


def _link(folder: Path, source: Path, target: Path) -> None:
    """Make the second name in the drafts first: a name that is taken cannot be linked, but can be replaced."""
    if not source.is_file():
        raise FileNotFoundError(source)
    drafts = folder / _DRAFTS
    _make_folder(drafts)
    draft = drafts / secrets.token_hex(16)
    try:
        draft.hardlink_to(source)
    except PermissionError:  # a file system without links
        with source.open("rb") as file:
            _write(folder, target, iter(lambda: file.read(BLOCK_BYTES), b""))
        return
    try:
        _place(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, target: Path) -> None:
    """Give a draft its name, durably. Others may delete the folder in between: then it is made again."""
    for tries_left in reversed(range(_TRIES)):
        try:
            _make_folder(target.parent)
            draft.replace(target)
            _sync_folder(target.parent)
        except FileNotFoundError:
            if not draft.exists():
                return  # it had its name, and was deleted at once
            if not tries_left:
                raise
        else:
            return


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; each new name is made durable in the folder that holds it."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path, whole_name: bool) -> None:
    """Delete what lies at the path, and, unless the last name is whole, everything beside it that starts with it.

    Others may do the same at once, or store something there: that is deleted too, or comes after.
    """
    try:
        beside = [entry for entry in path.parent.iterdir() if entry.name.startswith(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return
    found = [entry for entry in beside if not whole_name or (entry == path and entry.is_dir())]
    for entry in found:
        if entry.is_dir():
            _delete_folder(entry)
        else:
            entry.unlink(missing_ok=True)
    if found:
        with contextlib.suppress(FileNotFoundError):
            _sync_folder(path.parent)


def _delete_folder(path: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(path, onexc=_raise_unless_gone)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not tries_left:
                raise
        else:
            return


def _raise_unless_gone(_function: object, _path: object, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _names(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != _DRAFTS) if folder.is_dir() else []


def _entries(folder: Path, name: str) -> list[BlobEntry]:
    """The blobs of one owner. Their time is that of the last change of the file's names, so a copy counts as young."""
    top, found = folder / name, []
    paths = [top] if top.is_file() else (Path(base) / file for base, _, files in os.walk(top) for file in files)
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            found.append(BlobEntry(path.relative_to(folder).as_posix(), facts.st_size, facts.st_ctime_ns // 1_000))
    return found


def _sweep_drafts(drafts: Path) -> int:
    swept = 0
    for path in drafts.iterdir() if drafts.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _age_s(drafts, path) > DRAFT_AGE_S:
                path.unlink()
                swept += 1
    return swept


def _age_s(drafts: Path, path: Path) -> float:
    """How old a draft is by the file system's own clock: that of the folder, touched now."""
    os.utime(drafts)
    return drafts.stat().st_mtime - path.stat().st_ctime
