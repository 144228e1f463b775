"""Errors of providers as failures, and server-sent events within limits."""

import pytest

from efferent.brain.adapters.model_failures import RETRY_AFTER_S_MAX, Account, ContextOverflow, from_status
from efferent.brain.adapters.sse_decoder import SseDecoder, SseLimitExceeded

ACCOUNT = Account("house", ("HOUSE_KEY",), ("s3cret",))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:30 GMT", "date": "Sat, 21 Nov 2026 09:00:00 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "99999999"}, RETRY_AFTER_S_MAX),
        ({"retry-after-ms": "nan"}, None),
    ],
)
def test_wait_that_the_provider_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert from_status(ACCOUNT, 429, "", "", headers).retry_after_s == seconds


def test_provider_that_says_not_to_retry_is_obeyed() -> None:
    assert from_status(ACCOUNT, 500, "", "", {"x-should-retry": "false"}).verdict == "exhausted"
    assert from_status(ACCOUNT, 429, "", "", {"x-should-retry": "false"}).verdict == "exhausted"
    assert from_status(ACCOUNT, 500, "", "", {}).verdict == "retryable"


@pytest.mark.parametrize("status", [301, 404, 405, 410, 418])
def test_what_an_operator_must_mend_is_exhausted(status: int) -> None:
    assert from_status(ACCOUNT, status, "", "no such thing", {}).verdict == "exhausted"


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504])
def test_what_may_pass_by_itself_is_retryable(status: int) -> None:
    assert from_status(ACCOUNT, status, "", "", {}).verdict == "retryable"


@pytest.mark.parametrize("remark", ["Your credit balance is too low", "You exceeded your current quota"])
def test_unpaid_bill_is_told_apart(remark: str) -> None:
    for status in (400, 429):
        failure = from_status(ACCOUNT, status, "", remark, {})
        assert (failure.kind, failure.verdict) == ("billing", "exhausted")


def test_overflow_is_told_apart() -> None:
    for remark in ("prompt is too long: 2 > 1", "This model's maximum context length is 8192 tokens"):
        with pytest.raises(ContextOverflow):
            from_status(ACCOUNT, 400, "", remark, {})
    assert from_status(ACCOUNT, 500, "", "prompt is too long", {}).verdict == "retryable"


def test_message_is_short_and_without_secrets() -> None:
    message = from_status(ACCOUNT, 400, "bad", "the key s3cret\nis " + "long " * 1_000, {}).message
    assert "s3cret" not in message
    assert message.startswith("house answered 400 (bad): the key *** is long")
    assert len(message) < 600


def feed_in_pieces(data: bytes, size: int) -> list[bytes]:
    decoder = SseDecoder()
    return [event for start in range(0, len(data), size) for event in decoder.feed(data[start : start + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_events_are_the_same_in_whatever_pieces_they_come(size: int, newline: bytes) -> None:
    lines = [b": hello", b"event: x", b"data: one", b"", b"data:two", b"data: three", b"id: 4", b"", b"", b"data: un"]
    assert feed_in_pieces(newline.join(lines), size) == [b"one", b"two\nthree"]


def test_line_event_and_stream_have_limits() -> None:
    with pytest.raises(SseLimitExceeded, match="a line"):
        SseDecoder(line_bytes_max=10).feed(b"data: 0123456789")
    many = SseDecoder(line_bytes_max=10)
    many.feed(b"data: 123456\n")
    with pytest.raises(SseLimitExceeded, match="an event"):
        many.feed(b"data: 123456\n")
    endless = SseDecoder(stream_bytes_max=100)
    for _ in range(11):
        endless.feed(b"data: x\n\n")
    with pytest.raises(SseLimitExceeded, match="the stream"):
        endless.feed(b"data: x\n\n")
