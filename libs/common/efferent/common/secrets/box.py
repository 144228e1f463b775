"""Sealing secrets and opening them again: what the rest of the house uses.

Every seal has a data key of its own, so replacing a secret and shredding the old key makes the old value unreadable for
ever, wherever its ciphertext still lies.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from efferent.common.domain.sealed import Sealed
from efferent.common.ports import DataKeys
from efferent.common.secrets import envelope
from efferent.common.secrets.envelope import CannotOpen, WrappedKey
from efferent.common.secrets.root_key import RootKey

CANARY: Final = "canary"
"""Owner of the key that tells at the start whether the root key is the right one."""
_CANARY_KEY_ID: Final = "root"

_log = logging.getLogger(__name__)


class WrongRootKey(Exception):
    """The configured root key is not the one that this installation's secrets were sealed with."""

    def __init__(self) -> None:
        super().__init__(
            "the root key for secrets is not the one that this installation was started with: configure the right "
            "one (EFFERENT_SECRET_KEY, EFFERENT_SECRET_KEY_FILE, or secret.key in the data folder)"
        )


class SecretBox:
    """Seals and opens secrets; an owner is the id of the resource that they belong to."""

    def __init__(self, keys: DataKeys, roots: Sequence[RootKey]) -> None:
        """``roots``: newest first; the first one encrypts."""
        self._keys = keys
        self._roots = tuple(roots)

    async def check(self) -> None:
        """Make sure that the root key is the right one; the first caller ever says which one is.

        Raises WrongRootKey, LogUnavailable.
        """
        await asyncio.to_thread(_import_cryptography)
        wrapped = await self._keys.get(CANARY, _CANARY_KEY_ID)
        if wrapped is None:
            fresh = envelope.DataKey(_CANARY_KEY_ID, envelope.new_data_key().key)
            await self._keys.put(CANARY, fresh.id, envelope.wrap(fresh, CANARY, self._roots[0]).to_bytes())
            wrapped = await self._keys.get(CANARY, _CANARY_KEY_ID)
        if wrapped is None:
            raise WrongRootKey
        try:
            envelope.unwrap(WrappedKey.from_bytes(wrapped), _CANARY_KEY_ID, CANARY, self._roots)
        except CannotOpen as error:
            raise WrongRootKey from error

    async def seal(self, owner: str, secrets: Mapping[str, str]) -> Sealed:
        """Encrypt named values under a fresh data key. Raises LogUnavailable."""
        data_key = envelope.new_data_key()
        await self._keys.put(owner, data_key.id, envelope.wrap(data_key, owner, self._roots[0]).to_bytes())
        return envelope.seal(orjson.dumps(dict(secrets)), owner, data_key)

    async def open(self, owner: str, sealed: Sealed) -> dict[str, str]:
        """The values again. Raises CannotOpen (also when the key was shredded), LogUnavailable."""
        wrapped = await self._keys.get(owner, sealed.key_id)
        if wrapped is None:
            raise CannotOpen("the key of a secret was destroyed")
        data_key = envelope.unwrap(WrappedKey.from_bytes(wrapped), sealed.key_id, owner, self._roots)
        values: dict[str, str] = orjson.loads(envelope.unseal(sealed, owner, data_key))
        return values

    async def shred(self, owner: str, *, keep: Sealed | None = None) -> None:
        """Destroy the owner's keys, but for the one of ``keep``. Repeating it is harmless. Raises LogUnavailable."""
        for key_id in await self._keys.ids(owner):
            if keep is None or key_id != keep.key_id:
                await self._keys.delete(owner, key_id)

    async def destroy(self, owner: str, sealed: Sealed) -> None:
        """Destroy the key of one seal. Repeating it is harmless. Raises LogUnavailable."""
        await self._keys.delete(owner, sealed.key_id)

    async def rotate(self) -> int:
        """Wrap every data key with the newest root key; returns how many had another one.

        Safe to run again after a crash. Raises CannotOpen when a key needs a root key that is not configured; nothing
        is lost then. Raises LogUnavailable.
        """
        rotated = 0
        for owner in await self._keys.owners():
            for key_id in await self._keys.ids(owner):
                payload = await self._keys.get(owner, key_id)
                if payload is None:
                    continue
                wrapped = WrappedKey.from_bytes(payload)
                if wrapped.root_id == self._roots[0].id:
                    continue
                data_key = envelope.unwrap(wrapped, key_id, owner, self._roots)
                await self._keys.replace(owner, key_id, envelope.wrap(data_key, owner, self._roots[0]).to_bytes())
                rotated += 1
        if rotated:
            _log.info("data keys were wrapped with the newest root key", extra={"keys": rotated})
        return rotated


def _import_cryptography() -> None:
    """Loading the library takes a moment: not on the event loop, and not inside a request."""
    import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401
