"""AES-256-GCM, twice: a secret under a data key of its own, the data key under a root key.

Both name what they are for as associated data, so that a ciphertext that was moved to another owner does not open.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from efferent.common.domain.sealed import Sealed
from efferent.common.secrets.root_key import KEY_BYTES, RootKey

_NONCE_BYTES: Final = 12


class CannotOpen(Exception):
    """The ciphertext does not open: another root key, another owner, or damage. Nothing is ever guessed."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is kept."""

    root_id: str
    nonce: bytes
    ciphertext: bytes

    def to_bytes(self) -> bytes:
        """As it is written."""
        return orjson.dumps({"v": 1, "root": self.root_id, "nonce": _text(self.nonce), "key": _text(self.ciphertext)})

    @classmethod
    def from_bytes(cls, payload: bytes) -> "WrappedKey":
        """Read it again. Raises CannotOpen."""
        try:
            fields = orjson.loads(payload)
            if fields["v"] != 1:
                raise CannotOpen("a data key of a version that is not known")
            return cls(fields["root"], _bytes(fields["nonce"]), _bytes(fields["key"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CannotOpen("a data key cannot be read") from error


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key for one secret."""

    id: str
    key: bytes = field(repr=False)


def new_data_key() -> DataKey:
    """A fresh data key."""
    return DataKey(os.urandom(10).hex(), os.urandom(KEY_BYTES))


def wrap(data_key: DataKey, owner: str, root: RootKey) -> WrappedKey:
    """Encrypt a data key."""
    nonce = os.urandom(_NONCE_BYTES)
    return WrappedKey(root.id, nonce, _encrypt(root.key, nonce, data_key.key, _place(owner, data_key.id)))


def unwrap(wrapped: WrappedKey, key_id: str, owner: str, roots: Sequence[RootKey]) -> DataKey:
    """Decrypt a data key with the root key that encrypted it. Raises CannotOpen."""
    root = next((known for known in roots if known.id == wrapped.root_id), None)
    if root is None:
        raise CannotOpen(f"the root key {wrapped.root_id} is not configured")
    return DataKey(key_id, _decrypt(root.key, wrapped.nonce, wrapped.ciphertext, _place(owner, key_id)))


def seal(plaintext: bytes, owner: str, data_key: DataKey) -> Sealed:
    """Encrypt a secret."""
    nonce = os.urandom(_NONCE_BYTES)
    ciphertext = _encrypt(data_key.key, nonce, plaintext, _place(owner, data_key.id))
    return Sealed(key_id=data_key.id, nonce=_text(nonce), ciphertext=_text(ciphertext))


def unseal(sealed: Sealed, owner: str, data_key: DataKey) -> bytes:
    """Decrypt a secret. Raises CannotOpen."""
    try:
        nonce, ciphertext = _bytes(sealed.nonce), _bytes(sealed.ciphertext)
    except ValueError as error:
        raise CannotOpen("a secret cannot be read") from error
    return _decrypt(data_key.key, nonce, ciphertext, _place(owner, data_key.id))


def _place(owner: str, key_id: str) -> bytes:
    return f"efferent\x1f{owner}\x1f{key_id}".encode()


def _encrypt(key: bytes, nonce: bytes, plaintext: bytes, place: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key).encrypt(nonce, plaintext, place)


def _decrypt(key: bytes, nonce: bytes, ciphertext: bytes, place: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(nonce, ciphertext, place)
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("a secret does not open: wrong key or damage") from error


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
