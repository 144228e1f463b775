"""How the supervisor learns that a turn can run, and what it tells the person at the terminal."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from efferent.cli.readiness import Readiness, announce, ask
from efferent.common.runtime.free_port import free_port

TLS: Final = Path(__file__).parent / "tls"
READY: Final = b'HTTP/1.1 200 OK\r\n\r\n{"ready":true,"checks":{}}'
NOT_READY: Final = (
    b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ready":false,"checks":{"nats":{"ready":true,"reason":""},'
    b'"hands":{"ready":false,"reason":"user namespaces are forbidden"}}}'
)


@asynccontextmanager
async def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that gives these answers one after the other, and the last one again and again."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /readyz HTTP/1.1\r\n")
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"


async def test_a_server_that_answers_200_is_ready() -> None:
    async with answering(READY) as base_url:
        assert (await ask(base_url)).is_ready


async def test_a_server_that_is_not_ready_says_which_checks_fail() -> None:
    async with answering(NOT_READY) as base_url:
        assert await ask(base_url) == Readiness(False, ("hands: user namespaces are forbidden",))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\nnot json", "the gateway answered 500"),
        (b"HTTP/1.1 503 No\r\n\r\n[]", "the gateway answered 503"),
        (b"nonsense", "the gateway does not answer yet"),
        (b"", "the gateway does not answer yet"),
        (b"x" * 200_000, "the gateway does not answer yet"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_not_ready(answer: bytes, reason: str) -> None:
    async with answering(answer) as base_url:
        assert await ask(base_url) == Readiness(False, (reason,))


async def test_nobody_at_the_address_is_not_ready() -> None:
    assert not (await ask(f"http://127.0.0.1:{free_port()}")).is_ready


async def test_a_server_with_tls_is_asked_over_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    async with answering(READY, context=context) as base_url:
        assert (await ask(base_url, TLS / "cert.pem")).is_ready


async def test_the_exports_are_printed_once_the_server_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    async with answering(NOT_READY, READY) as base_url:
        await announce(base_url, "sk-key", said.append)
    assert said == [f"ready at {base_url}"]
    exports = f"export ANTHROPIC_BASE_URL={base_url}\nexport ANTHROPIC_API_KEY=sk-key\n"
    assert capsys.readouterr().out == exports


async def test_a_server_that_stays_unready_is_explained_once_and_still_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    async with answering(NOT_READY, NOT_READY, READY) as base_url:
        await announce(base_url, "sk-key", said.append, explain_after_s=0.0)
    assert said == ["not ready: hands: user namespaces are forbidden", f"ready at {base_url}"]
    assert capsys.readouterr().out.count("export ANTHROPIC_API_KEY=sk-key") == 2
