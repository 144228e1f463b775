"""The short way for messages with headers: the same messages as the library's own parser gives, however they arrive."""

import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from efferent.common.jetstream.connection import Headers, _LeanParser

Told = list[tuple[Any, ...]]


class Client:
    """Stands for the library's client: writes down what it is told."""

    def __init__(self, *, takes: bool = False) -> None:
        self.told: Told = []
        self._takes = takes

    def hand_over(self, *message: object) -> bool:
        """Take the message, or leave it to the library."""
        if self._takes:
            self.told.append(message)
        return self._takes

    async def _process_msg(self, *message: object) -> None:
        self.told.append(message)

    async def _process_ping(self) -> None:
        self.told.append(("ping",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.told.append(("info", info))


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    with pytest.raises(StopIteration):
        work.send(None)


def told(parser: Parser, client: Client, pieces: list[bytes]) -> Told:
    for piece in pieces:
        finish(parser.parse(piece))
    return client.told


def headed(subject: bytes, reply: bytes, data: bytes) -> bytes:
    head = b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n"
    return b"HMSG %b 1 %b%d %d\r\n%b%b\r\n" % (subject, reply, len(head), len(head) + len(data), head, data)


TOKENS = st.sampled_from([b"a", b"session.x.in", b"HMSG"])
REPLIES = st.sampled_from([b"", b"_INBOX.1 "])
DATA = st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b"HMSG a 1 4 4\r\n", b"PING\r\n"]))
PARTS = st.one_of(
    st.builds(headed, TOKENS, REPLIES, DATA),
    st.builds(lambda subject, data: b"MSG %b 2 %d\r\n%b\r\n" % (subject, len(data), data), TOKENS, DATA),
    st.sampled_from([b"PING\r\n", b"+OK\r\n", b'INFO {"a": 1}\r\n']),
)


@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_any_stream_cut_anywhere_gives_the_same_messages(parts: list[bytes], cuts: list[int], takes: bool) -> None:
    stream = b"".join(parts)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    library, lean = Client(), Client(takes=takes)
    assert told(_LeanParser(lean), lean, pieces) == told(Parser(library), library, [stream])


def test_nonsense_is_refused_as_the_library_refuses_it() -> None:
    with pytest.raises(ProtocolError):
        _LeanParser(Client()).parse(b"HMSG no numbers here\r\n").send(None)


def test_a_reset_forgets_the_half_of_a_message_that_came() -> None:
    client = Client()
    parser = _LeanParser(client)
    finish(parser.parse(headed(b"a", b"", b"x" * 100)[:50]))
    parser.reset()
    assert told(parser, client, [headed(b"b", b"", b"y")]) == [
        (1, b"b", b"", b"y", b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n")
    ]


def test_headers_are_found_by_their_whole_names() -> None:
    headers = Headers(b"NATS/1.0\r\nNats-Last-Sequence: 3\r\nNats-Sequence: 4\r\nEmpty: \r\n\r\n")
    assert dict(headers) == {"Nats-Last-Sequence": "3", "Nats-Sequence": "4", "Empty": ""}
    assert (headers.get("Sequence"), headers.get("Sequence", 0), len(headers)) == (None, 0, 3)
    with pytest.raises(KeyError):
        headers["Last-Sequence"]
