"""Looks for secrets in everything that a server wrote and answered, whatever usual encoding they stand in."""

import base64
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp

from tests.support.raw_api import Answer, RawApi

_BASE64_STEP: Final = 3
"""Where a text begins within a base64 group decides how it looks; there are this many ways."""


@dataclass
class Secrets:
    """The secrets of a test by what they are."""

    known: dict[str, str] = field(default_factory=dict)

    def new(self, what: str) -> str:
        """A secret of its own that nobody has seen before."""
        # A slash, a plus, a quote and a letter outside ASCII: encodings differ in what they do with these.
        return self.keep(what, f'sec/{secrets.token_hex(12)}+"{chr(0xE9)}{secrets.token_hex(4)}')

    def new_plain(self, what: str) -> str:
        """The same of letters, digits and dashes, for what is sent in a header."""
        return self.keep(what, f"sec-{secrets.token_hex(16)}")

    def keep(self, what: str, secret: str) -> str:
        """Look for this one too."""
        assert what not in self.known
        self.known[what] = secret
        return secret

    def found_in(self, data: bytes) -> list[str]:
        """What of the secrets is in there."""
        return [what for what, secret in self.known.items() if any(form in data for form in forms(secret))]


@dataclass(frozen=True)
class Recorder:
    """Asks like ``RawApi`` and keeps every answer, headers included."""

    api: RawApi
    answers: list[tuple[str, bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, base_url: str, http: aiohttp.ClientSession) -> "Recorder":
        """A recorder of this server's answers."""
        return cls(RawApi(base_url, http))

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        data: bytes | None = None,
        **headers: str | None,
    ) -> Answer:
        """One request that is to be answered with this status; names of headers have ``_`` for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.api.call(method, path, body, data=data, headers=sent)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.text}"
        seen = "\n".join(f"{name}: {value}" for name, value in answer.headers.items()) + "\n\n" + answer.text
        self.answers.append((f"{method} {path} [{len(self.answers)}]", seen.encode()))
        return answer


def forms(secret: str) -> Iterator[bytes]:
    """The secret as it is, and as JSON, URLs, hexadecimal and base64 have it."""
    raw = secret.encode()
    yield raw
    yield secret.replace('"', '\\"').encode()
    yield secret.encode("ascii", "backslashreplace").replace(b"\\x", b"\\u00").replace(b'"', b'\\"')
    yield quote(secret, safe="").encode()
    yield quote(secret).encode()
    yield raw.hex().encode()
    for skipped in range(_BASE64_STEP):
        inner = raw[skipped : skipped + (len(raw) - skipped) // _BASE64_STEP * _BASE64_STEP]
        yield base64.b64encode(inner)
        yield base64.urlsafe_b64encode(inner)


def files_below(*places: Path) -> list[Path]:
    """All files in these folders, and these files."""
    found = [path for place in places for path in (place.rglob("*") if place.is_dir() else [place])]
    return [path for path in found if path.is_file()]


def contents_below(*places: Path) -> Iterator[tuple[Path, bytes]]:
    """The bytes of all files there while a server works with them: one that vanishes meanwhile is passed over."""
    for path in files_below(*places):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.read_bytes()
