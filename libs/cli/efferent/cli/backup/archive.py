"""The inside of a backup: entries one after the other, each a description in JSON and its bytes, all of it streamed.

frame    one byte that says what it is, its length in four bytes, its bytes
archive  (description, data..., end of entry)..., end of archive
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated, Any, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from efferent.cli.backup.encryption import COST_LOG2, DamagedArchive, EncryptedWriter, decrypted
from efferent.common.domain.timestamp import Timestamp

FORMAT: Final = 1
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024

_FRAME: Final = struct.Struct(">BI")


class _Frame(IntEnum):
    DESCRIPTION = 1
    DATA = 2
    END_OF_ENTRY = 3
    END_OF_ARCHIVE = 4


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Manifest(_Description):
    """The first entry: what the archive is. It has no bytes."""

    kind: Literal["manifest"] = "manifest"
    format: int = FORMAT
    created_at: Timestamp
    version: str
    """Release that wrote it."""
    root_key: Literal["archive", "environment", "none"]
    """Where the key of the secrets is: in the archive, with the operator, or there are no secrets."""


class FileEntry(_Description):
    """A small file of the data folder."""

    kind: Literal["file"] = "file"
    name: Literal["secret.key", "api_key"]


class StreamEntry(_Description):
    """The snapshot of a stream."""

    kind: Literal["stream"] = "stream"
    name: str
    config: dict[str, Any]
    state: dict[str, Any]


class BlobEntry(_Description):
    """A blob."""

    kind: Literal["blob"] = "blob"
    key: str


class LateRecordEntry(_Description):
    """A record of ``CONTROL`` that came after its snapshot and that the blobs depend on: something was deleted."""

    kind: Literal["late_record"] = "late_record"
    subject: str


Entry = Manifest | FileEntry | StreamEntry | BlobEntry | LateRecordEntry
_ENTRY: Final[TypeAdapter[Entry]] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class ArchiveWriter:
    """Writes entries into an encrypted file."""

    def __init__(self, file: BinaryIO, passphrase: str, *, cost_log2: int = COST_LOG2) -> None:
        self._out = EncryptedWriter(file, passphrase, cost_log2=cost_log2)

    def begin(self, description: Entry) -> None:
        """Begin an entry; the one before has ended. Raises OSError."""
        self._frame(_Frame.DESCRIPTION, description.model_dump_json().encode())

    def data(self, data: bytes) -> None:
        """Add bytes to the entry. Raises OSError."""
        for start in range(0, len(data), FRAME_BYTES_MAX):
            self._frame(_Frame.DATA, data[start : start + FRAME_BYTES_MAX])

    def end(self) -> None:
        """End the entry. Raises OSError."""
        self._frame(_Frame.END_OF_ENTRY, b"")

    def whole(self, description: Entry, data: bytes = b"") -> None:
        """Write a short entry. Raises OSError."""
        self.begin(description)
        self.data(data)
        self.end()

    def finish(self) -> None:
        """End the archive. Raises OSError."""
        self._frame(_Frame.END_OF_ARCHIVE, b"")
        self._out.finish()

    def _frame(self, kind: _Frame, payload: bytes) -> None:
        self._out.write(_FRAME.pack(kind, len(payload)))
        self._out.write(payload)


class ArchiveReader:
    """Reads entries from an encrypted file, in order."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        self._blocks = decrypted(file, passphrase)
        self._waiting = bytearray()
        self._is_in_entry = False

    def entries(self) -> Iterator[Entry]:
        """The description of each entry; its bytes are read with ``data`` before the next one, or skipped.

        Raises ArchiveError, OSError.
        """
        while True:
            for _ in self.data():
                pass
            kind, payload = self._frame()
            if kind == _Frame.END_OF_ARCHIVE:
                self._nothing_follows()
                return
            if kind != _Frame.DESCRIPTION:
                raise DamagedArchive
            self._is_in_entry = True
            try:
                yield _ENTRY.validate_json(payload)
            except ValidationError as error:
                raise DamagedArchive from error

    def data(self) -> Iterator[bytes]:
        """The bytes of the present entry, what is left of them. Raises ArchiveError, OSError."""
        while self._is_in_entry:
            kind, payload = self._frame()
            if kind == _Frame.END_OF_ENTRY:
                self._is_in_entry = False
            elif kind == _Frame.DATA:
                yield payload
            else:
                raise DamagedArchive

    def _frame(self) -> tuple[int, bytes]:
        kind, length = _FRAME.unpack(self._take(_FRAME.size))
        if length > FRAME_BYTES_MAX:
            raise DamagedArchive
        return kind, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._waiting) < count:
            block = next(self._blocks, None)
            if block is None:
                raise DamagedArchive
            self._waiting += block
        taken = bytes(self._waiting[:count])
        del self._waiting[:count]
        return taken

    def _nothing_follows(self) -> None:
        if self._waiting or next(self._blocks, None) is not None:
            raise DamagedArchive
