"""How keys of blobs are written, the same for every store: what is no key could leave a folder or a bucket."""

import re
from typing import Final

KEY_LENGTH_MAX: Final = 512

_NAME: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_KEY: Final = re.compile(rf"{_NAME}(/{_NAME})*")


def checked_key(key: str) -> str:
    """The key. Raises ValueError when it is none."""
    if len(key) > KEY_LENGTH_MAX or _KEY.fullmatch(key) is None:
        raise ValueError(f"not a blob key: {key[:80]!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """The start of keys: a key, or one with a slash at its end. Raises ValueError."""
    checked_key(prefix.removesuffix("/"))
    return prefix
