"""From an upload to a skill's archive: everything that could be wrong with a stranger's files is refused here.

The archive that is stored is written anew from what was read: sorted, with fixed dates, plain files only. So what a
download, a sandbox or a worker unpacks holds nothing that was not looked at.
"""

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from efferent.common.domain.control.skill import checked_description, checked_name
from efferent.common.domain.refusals import InvalidRequest, TooLarge
from efferent.common.skills.front_matter import read_front_matter
from efferent.common.skills.paths import checked_path, is_junk

UPLOAD_BYTES_MAX: Final = 30 * 1024 * 1024
UNPACKED_BYTES_MAX: Final = 100 * 1024 * 1024
ENTRIES_MAX: Final = 5_000
RATIO_MAX: Final = 200
"""How many times larger than its packed form one file may be."""
RATIO_FREE_BYTES: Final = 1024 * 1024
"""Files up to this size may be packed as well as they like: what they add up to has its own limit."""
SKILL_FILE: Final = "SKILL.md"

_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY_MAGIC: Final = b"PK\x01\x02"
_ENTRY_MAGICS_MAX: Final = 4 * ENTRIES_MAX
"""The directory of an archive is read whole, and each entry of it begins so. Archives in the archive have some too."""
_ENCRYPTED: Final = 0x1
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part of an upload, named as its sender names it."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One file of a skill, its path beginning with the skill's folder."""

    path: str
    data: bytes
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class SkillPackage:
    """A skill that was found sound."""

    name: str
    description: str
    archive: bytes
    """A zip of the one folder."""

    @property
    def sha256(self) -> str:
        """Hash of the archive, hexadecimal."""
        return hashlib.sha256(self.archive).hexdigest()


def read_package(parts: Sequence[UploadedPart]) -> SkillPackage:
    """Check what was uploaded: one zip, or the files one by one. Takes processor time: call it in a thread.

    Raises InvalidRequest, TooLarge.
    """
    if not parts:
        raise InvalidRequest("files: no file was sent")
    if sum(len(part.data) for part in parts) > UPLOAD_BYTES_MAX:
        raise TooLarge(f"files: a skill is at most {UPLOAD_BYTES_MAX} bytes")
    if len(parts) == 1 and "/" not in parts[0].filename and not _is_archive(parts):
        raise InvalidRequest(
            f"files: {parts[0].filename[:100]!r} is neither a zip archive nor a file in a top-level folder; "
            f'send one zip, or every file with its path ("my-skill/{SKILL_FILE}")'
        )
    files = _unzipped(parts[0].data) if _is_archive(parts) else _plain(parts)
    top = _top_folder(files)
    skill_file = next((file for file in files if file.path == f"{top}/{SKILL_FILE}"), None)
    if skill_file is None:
        raise InvalidRequest(f"files: there is no {SKILL_FILE} at the root of the folder {top}/")
    facts = read_front_matter(skill_file.data)
    name, description = checked_name(facts.name), checked_description(facts.description)
    if name != top:
        raise InvalidRequest(f'files: the folder is called "{top}" and must be called as the skill, "{name}"')
    return SkillPackage(name, description, _zipped(files))


def _is_archive(parts: Sequence[UploadedPart]) -> bool:
    return len(parts) == 1 and "/" not in parts[0].filename and parts[0].data.startswith(_ZIP_MAGIC)


def _plain(parts: Sequence[UploadedPart]) -> list[SkillFile]:
    if len(parts) > ENTRIES_MAX:
        raise InvalidRequest(f"files: a skill has at most {ENTRIES_MAX} files")
    return [SkillFile(checked_path(part.filename), part.data) for part in parts if not is_junk(part.filename)]


def _top_folder(files: Sequence[SkillFile]) -> str:
    tops = {file.path.partition("/")[0] for file in files}
    if len(tops) != 1 or any("/" not in file.path for file in files):
        raise InvalidRequest(f"files: all files must be in one top-level folder, with {SKILL_FILE} at its root")
    _check_distinct([file.path for file in files])
    return tops.pop()


def _check_distinct(paths: Sequence[str]) -> None:
    """No path twice, not even on disks that do not tell cases apart, and none that is a folder of another."""
    seen: set[str] = set()
    for path in paths:
        if path.lower() in seen:
            raise InvalidRequest(f"files: {path[:200]!r} is there twice")
        seen.add(path.lower())
    for path in seen:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in seen:
                raise InvalidRequest(f"files: {parent[:200]!r} is both a file and a folder")
            parent = parent.rpartition("/")[0]


# --- archives ---------------------------------------------------------------------------------------------------------


def _unzipped(data: bytes) -> list[SkillFile]:
    if data.count(_ENTRY_MAGIC) > _ENTRY_MAGICS_MAX:
        raise InvalidRequest(f"files: the archive has more than {ENTRIES_MAX} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _files_of(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise InvalidRequest("files: the zip archive is damaged or of a kind that is not supported") from error


def _files_of(archive: zipfile.ZipFile) -> list[SkillFile]:
    entries = archive.infolist()
    if len(entries) > ENTRIES_MAX:
        raise InvalidRequest(f"files: the archive has more than {ENTRIES_MAX} entries")
    files: list[SkillFile] = []
    left_bytes = UNPACKED_BYTES_MAX
    for entry in entries:
        path = entry.orig_filename.removesuffix("/") if entry.is_dir() else entry.orig_filename
        if is_junk(path):
            continue
        checked_path(path)
        _check_entry(entry)
        if entry.is_dir():
            continue
        content = _read_entry(archive, entry, left_bytes)
        left_bytes -= len(content)
        files.append(SkillFile(path, content, is_executable=bool(entry.external_attr >> 16 & stat.S_IXUSR)))
    return files


def _check_entry(entry: zipfile.ZipInfo) -> None:
    shown = entry.orig_filename[:200]
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device or the like"
        raise InvalidRequest(f"files: {shown!r} is {what}; a skill has only files and folders")
    if entry.flag_bits & _ENCRYPTED:
        raise InvalidRequest(f"files: {shown!r} is encrypted")
    if entry.compress_type not in _METHODS:
        raise InvalidRequest(f"files: {shown!r} is packed in a way that is not supported; use plain zip")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left_bytes: int) -> bytes:
    """Unpack one file, believing nothing that the archive says of its size."""
    content = bytearray()
    with archive.open(entry) as file:
        while chunk := file.read(_READ_BYTES):
            content += chunk
            if len(content) > left_bytes:
                raise InvalidRequest(f"files: a skill is at most {UNPACKED_BYTES_MAX} bytes unpacked")
            if len(content) > max(RATIO_FREE_BYTES, RATIO_MAX * entry.compress_size):
                raise InvalidRequest(f"files: {entry.orig_filename[:200]!r} unpacks to over {RATIO_MAX} times its size")
    return bytes(content)


def _zipped(files: Sequence[SkillFile]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files, key=lambda file: file.path):
            entry = zipfile.ZipInfo(file.path, _DATE)
            entry.create_system = 3  # the mode below is a Unix one, wherever this runs
            entry.external_attr = (stat.S_IFREG | (0o755 if file.is_executable else 0o644)) << 16
            archive.writestr(entry, file.data, zipfile.ZIP_DEFLATED)
    return target.getvalue()
