"""Sessions tokens: the credential of one claimed work item. The log knows their hashes only.

A token names its environment and item, so that any gateway finds the item that it belongs to; what makes it a
credential is 256 bits of randomness at its end.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import orjson

from efferent.common.domain import ids
from efferent.common.domain.ids import EnvironmentId, WorkId

TOKEN_PREFIX: Final = "sk-ant-swt01-"  # noqa: S105 (a prefix, not a secret)
_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class TokenOrigin:
    """What a token says about itself; nothing of it is believed before its hash is found in the item."""

    environment_id: EnvironmentId
    work_id: WorkId


def mint(environment_id: EnvironmentId, work_id: WorkId) -> str:
    """A fresh token of an item."""
    return f"{TOKEN_PREFIX}{environment_id}-{work_id}-{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """The form in which a token is kept: SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse(text: str) -> TokenOrigin | None:
    """What a text says about itself when it looks like a token."""
    parts = text.removeprefix(TOKEN_PREFIX).split("-", _PARTS - 1)
    if not text.startswith(TOKEN_PREFIX) or len(parts) != _PARTS:
        return None
    environment_id, work_id, _ = parts
    if not ids.is_well_formed("env_", environment_id) or not ids.is_well_formed("work_", work_id):
        return None
    return TokenOrigin(EnvironmentId(environment_id), WorkId(work_id))


def secret_of(token: str) -> str:
    """The ``secret`` of a polled item, which wraps its token."""
    return base64.urlsafe_b64encode(orjson.dumps({"sessions_token": token})).decode()
