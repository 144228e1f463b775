"""The data folder of one machine: who uses it, which format it has, and the secrets that the supervisor keeps in it.

    lock            held by the supervisor and by nats-server for as long as they live
    format          number of the folder's format
    api_key         the key that the first start made (0600), unless EFFERENT_API_KEY gives one
    run/nats.json   port and token of the embedded nats-server (0600)
    restoring       there while a backup is being restored: what else is there is not whole. Names (as a digest) the log
                    and the blobs that the restore writes to, once it does

The services keep their own folders beside these and know nothing about them.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.cli.errors import CommandError
from efferent.common.runtime.free_port import free_port, is_free

FORMAT: Final = 1
NATS_FOLDER: Final = "nats"
"""Configuration, store and log of the embedded nats-server."""
_RESTORING: Final = "restoring"
_NOTHING: Final = frozenset({"lock", "format", _RESTORING})
"""What an empty data folder may hold."""
_LOCK_WAIT_S: Final = 1.0
_LOCK_POLL_S: Final = 0.05
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Where the embedded nats-server listens and what it wants to hear."""

    port: int
    token: str

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return f"nats://127.0.0.1:{self.port}"


class DataFolder:
    """A data folder that this process holds, until the process ends."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd
        """Open on the lock: a child that inherits it holds the folder too."""
        self.unfinished_into = _read(path / _RESTORING)
        """Where an unfinished restore wrote to; empty when it had not begun to write, None when there was none."""

    @classmethod
    def open(cls, path: Path) -> "DataFolder":
        """Make the folder when it is not there, take it for this process and check its format. Raises CommandError."""
        folder = cls._taken(path)
        if folder.unfinished_into is not None:
            folder.close()
            raise CommandError(f"a restore into the data folder {path} did not come to its end: run it again")
        folder._check_format()
        return folder

    @classmethod
    def open_to_fill(cls, path: Path, destination: str) -> "DataFolder":
        """Take an empty folder, or what an unfinished restore left, which is emptied. Raises CommandError, OSError.

        ``destination`` tells apart where the rest of the state goes to: an unfinished restore goes on there or not at
        all. The folder is refused by ``open`` until ``filled`` is called.
        """
        folder = cls._taken(path)
        others = [each for each in path.iterdir() if each.name not in _NOTHING]
        if others and folder.unfinished_into is None:
            folder.close()
            raise CommandError(f"the data folder {path} is not empty: choose another one with EFFERENT_DATA_DIR")
        if folder.unfinished_into not in (None, "", destination):
            folder.close()
            raise CommandError(
                f"the unfinished restore into {path} wrote to another log or another store of blobs: "
                "set NATS_URL and the EFFERENT_BLOBS and EFFERENT_S3_... variables as they were then"
            )
        _write_private(path / _RESTORING, folder.unfinished_into or "")
        for each in others:
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        folder._check_format()
        return folder

    def filling(self, destination: str) -> None:
        """From now on the restore writes to ``destination``: what is there may be deleted when it has to begin anew."""
        _write_private(self.path / _RESTORING, destination)

    def filled(self) -> None:
        """The folder is whole: others may open it."""
        (self.path / _RESTORING).unlink(missing_ok=True)

    @classmethod
    def _taken(cls, path: Path) -> "DataFolder":
        try:
            path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            path.chmod(_PRIVATE_FOLDER)
            lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
        except OSError as error:
            raise CommandError(f"the data folder {path} cannot be used: {error.strerror}") from error
        _take(lock_fd, path)
        return cls(path, lock_fd)

    def close(self) -> None:
        """Let others have the folder."""
        os.close(self.lock_fd)

    def api_key(self) -> str:
        """The key kept in the folder; made at the first call. Raises CommandError when the file is empty."""
        file = self.path / "api_key"
        if not file.exists():
            _write_private(file, "sk-ant-efferent-" + secrets.token_urlsafe(32) + "\n")
        if not (key := file.read_text().strip()):
            raise CommandError(f"{file} is empty: put a key in it, or delete it to get a new one")
        return key

    def nats_access(self) -> NatsAccess:
        """Port and token of the embedded nats-server: the same as last time when the port is still free."""
        file = self.path / "run" / "nats.json"
        known = read_nats_access(self.path)
        if known is not None and is_free(known.port):
            return known
        access = NatsAccess(port=free_port(), token=known.token if known is not None else secrets.token_urlsafe(32))
        file.parent.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        _write_private(file, json.dumps({"port": access.port, "token": access.token}))
        return access

    def _check_format(self) -> None:
        file = self.path / "format"
        if not file.exists():
            _write_private(file, f"{FORMAT}\n")
            return
        text = file.read_text().strip()
        if not text.isdecimal():
            raise CommandError(
                f"{file} does not hold the number of a format; is {self.path} a data folder of Efferent?"
            )
        if int(text) > FORMAT:
            raise CommandError(
                f"the data folder {self.path} has format {text}, which a newer release wrote; "
                f"this release knows formats up to {FORMAT}: use the newer release"
            )


def read_api_key(path: Path) -> str | None:
    """The key kept in this data folder; None when there is none."""
    try:
        return (path / "api_key").read_text().strip() or None
    except OSError:
        return None


def forget_api_key(path: Path) -> None:
    """Keep the key no longer; the next start makes another."""
    (path / "api_key").unlink(missing_ok=True)


def nats_log_file(path: Path) -> Path:
    """Where the embedded nats-server of this data folder logs to."""
    return path / NATS_FOLDER / "nats-server.log"


def read_nats_access(path: Path) -> NatsAccess | None:
    """Port and token of the embedded nats-server of this data folder; None when it never had one."""
    try:
        raw = json.loads((path / "run" / "nats.json").read_text())
        return NatsAccess(port=int(raw["port"]), token=str(raw["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(file: Path) -> str | None:
    return file.read_text().strip() if file.exists() else None


def _take(lock_fd: int, path: Path) -> None:
    """Lock the folder. Waits a moment, since what was killed with the last supervisor may take one to be gone."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(lock_fd, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(lock_fd)
                raise CommandError(
                    f"the data folder {path} is in use by another 'efferent up' (process {holder}): "
                    "stop it first, or choose another folder with EFFERENT_DATA_DIR"
                ) from None
            time.sleep(_LOCK_POLL_S)
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; it is there as a whole or not at all."""
    temporary = file.with_name(file.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE_FILE)
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
