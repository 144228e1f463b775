"""Snapshots: a cold session is the same with and without one, and nothing odd about a snapshot ever counts."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from efferent.brain import snapshot_blob, snapshots
from efferent.brain.session_cache import FoldedSession, caught_up
from efferent.brain.snapshots import Snapshots
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.ids import RecordId, SessionId
from efferent.common.domain.record import StoredRecord
from efferent.common.domain.state import Idle, SessionState
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_log import InMemorySessionLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.specification import Story, call, custom_tool, message, say, toolset
from tests.support.brain_stage import SESSION, Stage

EVERY_EVENTS = 20


def plain(folded: FoldedSession) -> object:
    """Everything of a folded session, with messages in a form that can be compared."""
    messages = [(message.role, message.parts) for message in folded.transcript.messages]
    return folded.state, messages, folded.sequence, folded.record_id, folded.events


class WatchedLog(InMemorySessionLog):
    """Remembers from where it was read."""

    read_after: int = -1

    async def read(
        self, session_id: SessionId, *, after: int = 0, reach: int | None = None
    ) -> AsyncGenerator[StoredRecord]:
        """Also remembers."""
        self.read_after = after
        async for stored in super().read(session_id, after=after, reach=reach):
            yield stored


@dataclass
class World:
    """A log with one session in it, and the snapshots beside it."""

    blobs: InMemoryBlobs = field(default_factory=InMemoryBlobs)
    story: Story = field(default_factory=lambda: Story([toolset("always_ask"), custom_tool()]).create())
    last: int = 0
    written: int = 0

    def __post_init__(self) -> None:
        self.log = WatchedLog(InMemoryStream(), self.blobs)

    async def write(self) -> None:
        """Append what the story has recorded since the last time."""
        for record in self.story.records[self.written :]:
            self.last = await self.log.append(SESSION, "out", record, expected=self.last)
        self.written = len(self.story.records)

    async def whole(self) -> FoldedSession:
        """The session folded from its first record."""
        return await caught_up(FoldedSession(), self.log, SESSION, None)

    def brain(self) -> Snapshots:
        """The snapshots as a brain sees them that was just started."""
        return Snapshots(self.blobs, self.log, events_between=EVERY_EVENTS)

    async def keep(self) -> FoldedSession:
        """Write a snapshot of the session as it is now."""
        await self.write()
        folded, brain = await self.whole(), self.brain()
        brain.offer(SESSION, folded)
        await brain.settle()
        return folded


def has_ended(turns: int, state: SessionState) -> bool:
    """Whether so many turns are over."""
    return state.totals.turns_ended == turns


def many_turns(story: Story, turns: int) -> None:
    """Text turns."""
    for number in range(turns):
        story.send(message(f"question {number}"))
        story.claim()
        story.reply(Thought("claude-test", "hm", "signed", None), say(f"answer {number}"))


def calls_of_every_kind(story: Story) -> None:
    """A turn that waits for a confirmation, a denial and a custom tool's result, with a message queued behind it."""
    story.send(message("do it"))
    story.claim()
    story.reply(call("bash", command="a"), call("bash", command="b"), call("ask_human", question="?"))
    first, second, third = story.state.calls
    story.confirm(first.id)
    story.claim()
    story.confirm(second.id, deny="no")
    story.answer(third.id)


@pytest.mark.parametrize("play", [calls_of_every_kind, lambda story: None], ids=["calls", "no calls"])
async def test_a_snapshot_is_read_as_it_was_written(play: Callable[[Story], None]) -> None:
    world = World()
    many_turns(world.story, 3)
    play(world.story)
    await world.write()
    folded = await world.whole()
    assert plain(snapshot_blob.load(snapshot_blob.dump(folded))) == plain(folded)


async def test_snapshot_and_tail_are_the_whole_session() -> None:
    world = World()
    many_turns(world.story, 10)
    kept = await world.keep()
    many_turns(world.story, 2)
    await world.write()
    found = await world.brain().caught_up(SESSION, world.last)
    assert world.log.read_after == kept.sequence - 1
    assert plain(found) == plain(await world.whole())


async def test_a_snapshot_is_enough_when_nothing_follows_it() -> None:
    world = World()
    many_turns(world.story, 10)
    kept = await world.keep()
    assert plain(await world.brain().caught_up(SESSION, None)) == plain(kept)


async def test_a_short_session_is_not_kept() -> None:
    world = World()
    many_turns(world.story, 1)
    await world.keep()
    await world.brain().caught_up(SESSION, world.last)
    assert world.log.read_after == 0


async def test_a_session_is_kept_again_only_when_it_has_grown() -> None:
    world = World()
    many_turns(world.story, 10)
    first = await world.keep()
    brain = world.brain()
    await brain.caught_up(SESSION, None)
    many_turns(world.story, 1)
    await world.write()
    brain.offer(SESSION, await world.whole())
    await brain.settle()
    await world.brain().caught_up(SESSION, None)
    assert world.log.read_after == first.sequence - 1


async def test_a_snapshot_that_the_log_does_not_confirm_is_not_used() -> None:
    world = World()
    many_turns(world.story, 10)
    kept = await world.keep()
    key = f"{SESSION}/snapshots/{snapshot_blob.code_version()}"
    other = snapshot_blob.load(await world.blobs.get(key))
    foreign = FoldedSession(other.state, other.transcript, other.sequence, RecordId("rec_other"), other.events)
    await world.blobs.put(key, snapshot_blob.dump(foreign))
    assert plain(await world.brain().caught_up(SESSION, None)) == plain(kept)
    assert world.log.read_after == 0
    later = FoldedSession(other.state, other.transcript, other.sequence + 1_000, other.record_id, other.events)
    await world.blobs.put(key, snapshot_blob.dump(later))
    assert plain(await world.brain().caught_up(SESSION, world.last)) == plain(kept)
    assert plain(await world.brain().caught_up(SESSION, None)) == plain(kept)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"sequence":1}'])
async def test_bytes_that_are_no_snapshot_are_not_used(data: bytes) -> None:
    world = World()
    many_turns(world.story, 10)
    kept = await world.keep()
    await world.blobs.put(f"{SESSION}/snapshots/{snapshot_blob.code_version()}", data)
    assert plain(await world.brain().caught_up(SESSION, None)) == plain(kept)


async def test_snapshots_have_a_largest_size_and_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    many_turns(world.story, 10)
    await world.write()
    folded, brain = await world.whole(), world.brain()
    for number in range(snapshots.WAITING_MAX + 1):
        brain.offer(SessionId(f"sesn_w{number}"), folded)
    await brain.settle()
    version = snapshot_blob.code_version()
    assert await world.blobs.get(f"sesn_w{snapshots.WAITING_MAX - 1}/snapshots/{version}")
    with pytest.raises(KeyError):
        await world.blobs.get(f"sesn_w{snapshots.WAITING_MAX}/snapshots/{version}")
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES_MAX", 100)
    await world.keep()
    with pytest.raises(KeyError):
        await world.blobs.get(f"{SESSION}/snapshots/{version}")


async def test_a_brain_that_was_just_started_goes_on_from_the_snapshot(stage: Stage) -> None:
    stage.brain()
    await stage.create()
    for number in range(3):
        stage.model.answer(TextBlock(text=f"answer {number}"))
        await stage.send(message(f"question {number}"))
        await stage.until(partial(has_ended, number + 1))
    await stage.close()
    stage.brain("brain_2")
    stage.model.answer(TextBlock(text="last"))
    await stage.send(message("again"))
    state = await stage.until(partial(has_ended, 4))
    assert isinstance(state.status, Idle)
    asked = stage.model.requests[-1].messages
    assert [part.text for message in asked for part in message.parts if isinstance(part, TextBlock)] == [
        "question 0", "answer 0", "question 1", "answer 1", "question 2", "answer 2", "again",
    ]  # fmt: skip
