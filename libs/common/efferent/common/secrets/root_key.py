"""The root keys: where they come from. The first one encrypts; further ones still decrypt, until all is rotated.

A root key is 32 bytes, written in base64. ``EFFERENT_SECRET_KEY`` or ``EFFERENT_SECRET_KEY_FILE`` hold one or more,
separated by blanks or commas, newest first; without either the data folder has the file ``secret.key``, made at the
first start.
"""

import base64
import binascii
import contextlib
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

KEY_BYTES: Final = 32
KEYS_MAX: Final = 8
FILE_NAME: Final = "secret.key"

_log = logging.getLogger(__name__)


class BadRootKey(ValueError):
    """The root keys cannot be used; the message says why and never shows one."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """One root key; ``id`` tells it from others and says nothing about it."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Eight characters of its hash."""
        return hashlib.sha256(b"efferent-root-key\x00" + self.key).hexdigest()[:8]


class SecretSettings(BaseSettings):
    """Where the root keys are."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_SECRET_KEY", "key"))
    key_file: Path | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_SECRET_KEY_FILE", "key_file"))

    def root_keys(self, data_dir: Path) -> tuple[RootKey, ...]:
        """The keys, newest first; makes the data folder's own when nothing else is configured. Raises BadRootKey."""
        configured = self.configured_keys()
        if configured:
            return configured
        file = data_dir / FILE_NAME
        if not file.exists():
            _make(file)
        return parse(_read(file), str(file))

    def configured_keys(self) -> tuple[RootKey, ...]:
        """The keys that the environment has or names; none: those of the data folder are used. Raises BadRootKey."""
        if self.key is not None:
            return parse(self.key.get_secret_value(), "EFFERENT_SECRET_KEY")
        if self.key_file is not None:
            return parse(_read(self.key_file), f"EFFERENT_SECRET_KEY_FILE ({self.key_file})")
        return ()


def generate() -> str:
    """A fresh root key as it is written."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse(text: str, source: str) -> tuple[RootKey, ...]:
    """Read root keys, newest first. Raises BadRootKey naming the source."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if not words:
        raise BadRootKey(f"{source} is empty: it must hold {KEY_BYTES} bytes in base64")
    if len(words) > KEYS_MAX:
        raise BadRootKey(f"{source} holds more than {KEYS_MAX} keys")
    return tuple(_parse_one(word, source) for word in words)


def write(file: Path, keys: Sequence[str]) -> None:
    """Put keys in a file that only its owner can read, at once or not at all. Raises OSError."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write("".join(f"{key}\n" for key in keys))
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def _parse_one(word: str, source: str) -> RootKey:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRootKey(f"{source} holds a key that is not base64") from error
    if len(key) != KEY_BYTES:
        raise BadRootKey(f"{source} holds a key of {len(key)} bytes; it must have {KEY_BYTES}")
    return RootKey(key)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRootKey(f"{file} cannot be read: {error}") from error


def _make(file: Path) -> None:
    """Several services may start at once: the first one makes the file, all use it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(generate() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
            _log.warning(
                "made a root key for secrets: keep a copy of it, without it stored credentials cannot be read",
                extra={"file": str(file)},
            )
    finally:
        draft.unlink(missing_ok=True)
