"""Unpacking a skill's archive into a folder that nobody else writes.

Archives were checked when they were uploaded; the limits here hold whatever the store gives back.
"""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

ENTRIES_MAX: Final = 10_000
BYTES_MAX: Final = 512 * 1024 * 1024
_COPY_BYTES: Final = 1 << 20


class BadArchive(Exception):
    """The archive is not one that may be unpacked."""


def unpack(archive: Path, target: Path) -> None:
    """Unpack into a new folder, without the one folder that wraps everything. Raises BadArchive, OSError."""
    target.mkdir(mode=0o755)
    left = BYTES_MAX
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > ENTRIES_MAX:
                raise BadArchive(f"{len(entries)} entries")
            for entry in entries:
                left -= _unpack_entry(opened, entry, target, left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadArchive(str(error)) from error


def _unpack_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, bytes_max: int) -> int:
    """Unpack one entry; how many bytes it has. Links and devices are left out."""
    mode = entry.external_attr >> 16
    path = PurePosixPath(entry.filename)
    parts = path.parts[1:]
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
        raise BadArchive(f"the path {entry.filename[:100]!r}")
    if entry.is_dir() or not parts or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
        return 0
    place = target.joinpath(*parts)
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, open(place, "xb") as file:
        while chunk := source.read(_COPY_BYTES):
            written += len(chunk)
            if written > bytes_max:
                raise BadArchive(f"more than {BYTES_MAX} bytes")
            file.write(chunk)
    place.chmod(0o555 if mode & 0o111 else 0o444)
    return written


def remove(folder: Path) -> None:
    """Delete an unpacked archive; repeating it is harmless. Raises OSError."""
    if folder.exists():
        shutil.rmtree(folder)
