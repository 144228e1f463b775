"""Previews: what belongs together travels together, in order, and before the record that follows."""

import asyncio

import orjson

from efferent.brain.ports import TextDelta, ThinkingStarted
from efferent.brain.previews import MESSAGE_BYTES_MAX, PreviewWriter
from efferent.common.domain.ids import ClaimId, EventId


class Wire:
    """What was published."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.arrived = asyncio.Event()

    async def publish(self, payload: bytes) -> None:
        self.messages.append(payload)
        self.arrived.set()

    @property
    def texts(self) -> list[str]:
        """The text of every delta, in the order of publishing."""
        events = [orjson.loads(line)["event"] for message in self.messages for line in message.splitlines()]
        return [event["delta"]["content"]["text"] for event in events if event["type"] == "event_delta"]

    def writer(self) -> PreviewWriter:
        """A writer of one model request."""
        return PreviewWriter(self.publish, after=7, claim_id=ClaimId("claim_1"), span_id=EventId("sevt_1"))


async def test_chunks_of_one_moment_travel_in_one_message() -> None:
    wire = Wire()
    writer = wire.writer()
    await writer.write(ThinkingStarted(0))
    for text in ("one\n", "two ", "three"):
        await writer.write(TextDelta(1, text))
    await writer.flush()
    assert len(wire.messages) == 1
    assert wire.texts == ["one\n", "two ", "three"]
    assert all(orjson.loads(line)["after"] == 7 for line in wire.messages[0].splitlines())


async def test_a_chunk_is_published_without_waiting_for_the_next_one() -> None:
    wire = Wire()
    writer = wire.writer()
    await writer.write(TextDelta(0, "first "))
    async with asyncio.timeout(20):
        await wire.arrived.wait()
    assert wire.texts == ["first "]
    await writer.write(TextDelta(0, "second"))
    await writer.flush()
    assert wire.texts == ["first ", "second"]


async def test_a_flood_is_sent_in_messages_of_bounded_size() -> None:
    wire = Wire()
    writer = wire.writer()
    piece = "x" * 10_000
    for _ in range(40):
        await writer.write(TextDelta(0, piece))
    await writer.flush()
    assert wire.texts == [piece] * 40
    assert len(wire.messages) > 4
    assert all(len(message) < MESSAGE_BYTES_MAX + 2 * len(piece) for message in wire.messages)
