"""The outside of a backup: AES-256-GCM over blocks, under a key that scrypt makes from a passphrase.

    header   magic and version, cost of scrypt, salt, start of all nonces; it is authenticated with every block
    block    1 MiB of plaintext (the last one may be shorter) and a tag of 16 bytes

A nonce is the header's random start, the block's number, and whether the block is the last: blocks that are changed,
exchanged, repeated or left out do not open, and neither does an archive that was cut at the end of a block.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

BLOCK_BYTES: Final = 1024 * 1024
COST_LOG2: Final = 17
"""scrypt with n = 2 ** 17, r = 8: 128 MiB and about half a second per guess."""

_MAGIC: Final = b"efferent-backup\x01"
_COST_LOG2_MAX: Final = 20
_HEADER: Final = struct.Struct(f">{len(_MAGIC)}sB16s7s")
_NONCE_END: Final = struct.Struct(">I?")
_TAG_BYTES: Final = 16


class ArchiveError(Exception):
    """The archive cannot be read; the message says why."""


class NotAnArchive(ArchiveError):
    """The file is no backup of Efferent, or one of a newer release."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class WrongPassphrase(ArchiveError):
    """The archive does not open: another passphrase, or its beginning is damaged."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class DamagedArchive(ArchiveError):
    """The archive is damaged or cut short."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class EncryptedWriter:
    """Encrypts what is written into a file; without ``finish`` the archive does not open to its end."""

    def __init__(self, file: BinaryIO, passphrase: str, *, cost_log2: int = COST_LOG2) -> None:
        salt, self._nonce_start = os.urandom(16), os.urandom(7)
        self._header = _HEADER.pack(_MAGIC, cost_log2, salt, self._nonce_start)
        self._cipher = AESGCM(_key(passphrase, salt, cost_log2))
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def write(self, data: bytes) -> None:
        """Add bytes. Raises OSError."""
        self._waiting += data
        while len(self._waiting) > BLOCK_BYTES:
            self._block(bytes(self._waiting[:BLOCK_BYTES]), is_last=False)
            del self._waiting[:BLOCK_BYTES]

    def finish(self) -> None:
        """Write the last block. Raises OSError."""
        self._block(bytes(self._waiting), is_last=True)

    def _block(self, plaintext: bytes, *, is_last: bool) -> None:
        nonce = self._nonce_start + _NONCE_END.pack(self._number, is_last)
        self._file.write(self._cipher.encrypt(nonce, plaintext, self._header))
        self._number += 1


def decrypted(file: BinaryIO, passphrase: str) -> Iterator[bytes]:
    """The plaintext in blocks. What was given out is authentic; that nothing is missing is known at the end.

    Raises NotAnArchive, WrongPassphrase, DamagedArchive, OSError.
    """
    header = file.read(_HEADER.size)
    if len(header) != _HEADER.size:
        raise NotAnArchive
    magic, cost_log2, salt, nonce_start = _HEADER.unpack(header)
    if magic != _MAGIC or not 1 <= cost_log2 <= _COST_LOG2_MAX:
        raise NotAnArchive
    cipher = AESGCM(_key(passphrase, salt, cost_log2))
    number = 0
    block = file.read(BLOCK_BYTES + _TAG_BYTES)
    while True:
        following = file.read(BLOCK_BYTES + _TAG_BYTES)
        nonce = nonce_start + _NONCE_END.pack(number, not following)
        try:
            yield cipher.decrypt(nonce, block, header)
        except InvalidTag as error:
            raise (DamagedArchive if number else WrongPassphrase)() from error
        if not following:
            return
        block, number = following, number + 1


def _key(passphrase: str, salt: bytes, cost_log2: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << cost_log2, r=8, p=1).derive(passphrase.encode())
