"""Asks the running gateway whether a turn can run, and tells the person at the terminal.

A few lines of HTTP by hand: an HTTP client would be the largest thing in the supervisor's memory.
"""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_ASK_EVERY_S: Final = 0.1
_ASK_TIMEOUT_S: Final = 10.0
EXPLAIN_AFTER_S: Final = 6.0
_ANSWER_BYTES_MAX: Final = 64 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True, slots=True)
class Readiness:
    """What ``/readyz`` said."""

    is_ready: bool
    reasons: tuple[str, ...]
    """Why not, one sentence per failed check."""
    is_answered: bool = field(default=True, compare=False)
    """Whether a gateway answered at all."""


async def ask(base_url: str, tls_cert: Path | None = None) -> Readiness:
    """Ask once. A gateway that does not answer is a reason too."""
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            status, body = await _get(base_url, "/readyz", tls_cert)
    except (OSError, TimeoutError, ValueError):
        return Readiness(False, ("the gateway does not answer yet",), is_answered=False)
    return Readiness(status == 200, _reasons(body) or (f"the gateway answered {status}",))


async def announce(
    base_url: str,
    key: str,
    say: Callable[[str], None],
    *,
    tls_cert: Path | None = None,
    explain_after_s: float = EXPLAIN_AFTER_S,
) -> None:
    """Print the two lines that a client needs once a turn can run; say what is missing when that takes long.

    Returns when the server is ready.
    """
    loop = asyncio.get_running_loop()
    explain_at = loop.time() + explain_after_s
    explained: tuple[str, ...] | None = None
    while True:
        readiness = await ask(base_url, tls_cert)
        if readiness.is_ready:
            say(f"ready at {base_url}")
            _print_exports(base_url, key)
            return
        if loop.time() >= explain_at and readiness.reasons != explained:
            if explained is None:
                _print_exports(base_url, key)
            explained = readiness.reasons
            for reason in explained:
                say(f"not ready: {reason}")
        await asyncio.sleep(_ASK_EVERY_S if explained is None else 1.0)


def _print_exports(base_url: str, key: str) -> None:
    print(f"export ANTHROPIC_BASE_URL={base_url}\nexport ANTHROPIC_API_KEY={key}", flush=True)


async def _get(base_url: str, path: str, tls_cert: Path | None) -> tuple[int, bytes]:
    """Status and body of one GET request. Raises OSError, ValueError."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=_trust(tls_cert))
    try:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\nAccept-Encoding: identity\r\n\r\n"
        )
        writer.write(request.encode())
        answer = b""
        while len(answer) < _ANSWER_BYTES_MAX and (piece := await reader.read(_ANSWER_BYTES_MAX)):
            answer += piece
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    if (status_line := _STATUS_LINE.match(head)) is None:
        raise ValueError("not an answer of HTTP")
    return int(status_line[1]), body


def _trust(tls_cert: Path | None) -> ssl.SSLContext | None:
    """Trust exactly the server's own certificate, whatever name it bears."""
    if tls_cert is None:
        return None
    context = ssl.create_default_context(cafile=str(tls_cert))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its issuer need not be in the file
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # nor does it have to be a perfect one
    return context


def _reasons(body: bytes) -> tuple[str, ...]:
    try:
        checks = json.loads(body)["checks"]
        return tuple(f"{name}: {check['reason']}" for name, check in checks.items() if not check["ready"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
