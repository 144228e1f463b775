"""What every log of the control plane promises."""

import asyncio
from functools import partial

import pytest

from efferent.common.jetstream import api
from efferent.common.ports import IdSource, LogConflict
from efferent.common.testing.log_world import LogWorld

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_newest_record_of_a_subject_is_found(world: LogWorld, source: IdSource) -> None:
    subject = f"control.agent.{source.seed()}"
    assert await world.control.last(subject) is None
    one = await world.control.append(subject, b"one", expected=0)
    two = await world.control.append(subject, b"two", expected=one)
    newest = await world.control.last(subject)
    assert newest is not None
    assert (newest.sequence, newest.subject, newest.payload, newest.previous) == (two, subject, b"two", one)


async def test_newest_record_of_a_set_is_found(world: LogWorld, source: IdSource) -> None:
    within = source.seed()
    pattern = f"control.memory_store.{within}.*"
    assert await world.control.last(pattern) is None
    await world.control.append(f"control.memory_store.{within}.one", b"one", expected=0)
    two = await world.control.append(f"control.memory_store.{within}.two", b"two", expected=0)
    newest = await world.control.last(pattern)
    assert newest is not None
    assert (newest.sequence, newest.payload) == (two, b"two")


async def test_stale_append_conflicts_and_names_the_newest(world: LogWorld, source: IdSource) -> None:
    subject = f"control.agent.{source.seed()}"
    one = await world.control.append(subject, b"one", expected=0)
    two = await world.control.append(subject, b"two", expected=one)
    with pytest.raises(LogConflict) as conflict:
        await world.control.append(subject, b"other", expected=one)
    assert conflict.value.last == two


async def test_fence_that_nobody_has_reached_conflicts_at_once(world: LogWorld, source: IdSource) -> None:
    """So that a writer can ask whether the log takes appends, without appending."""
    subject = f"control.probe.{source.seed()}"
    one = await world.control.append(subject, b"one", expected=0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(LogConflict) as conflict:
        await world.control.append(subject, b"two", expected=2**53)
    assert conflict.value.last == one
    assert asyncio.get_running_loop().time() - started < api.DEADLINE_S * 0.8


async def test_same_bytes_on_the_same_state_are_the_same_append(world: LogWorld, source: IdSource) -> None:
    subject = f"control.agent.{source.seed()}"
    one = await world.control.append(subject, b"one", expected=0)
    await world.control.append(subject, b"two", expected=one)
    assert await world.control.append(subject, b"one", expected=0) == one


async def test_fence_over_a_set_lets_one_of_two_siblings_win(world: LogWorld, source: IdSource) -> None:
    kind, one_set = "environment", source.seed()
    fence = f"control.{kind}.{one_set}.*"
    results = await asyncio.gather(
        *(
            world.control.append(f"control.{kind}.{one_set}.{name}", name.encode(), expected=0, fence=fence)
            for name in ("a", "b")
        ),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["LogConflict", "int"]
    records = [record async for record in world.control.read(fence)]
    assert len(records) == 1


async def test_append_fenced_on_a_set_continues_from_a_sibling(world: LogWorld, source: IdSource) -> None:
    one_set = source.seed()
    fence = f"control.environment.{one_set}.*"
    one = await world.control.append(f"control.environment.{one_set}.a", b"a", expected=0, fence=fence)
    two = await world.control.append(f"control.environment.{one_set}.b", b"b", expected=one, fence=fence)
    assert [record.sequence async for record in world.control.read(fence)] == [one, two]


async def test_read_filters_by_pattern_and_starts_after(world: LogWorld, source: IdSource) -> None:
    kind = source.seed()
    one = await world.control.append(f"control.{kind}.a", b"1", expected=0)
    await world.control.append(f"control.other-{kind}.a", b"2", expected=0)
    three = await world.control.append(f"control.{kind}.b", b"3", expected=0)
    assert [record.payload async for record in world.control.read(f"control.{kind}.*")] == [b"1", b"3"]
    assert [record.sequence async for record in world.control.read(f"control.{kind}.*", after=one)] == [three]
    assert [record.payload async for record in world.control.read(f"control.{kind}.a")] == [b"1"]


async def test_the_next_record_of_a_subject_after_a_sequence_is_found(world: LogWorld, source: IdSource) -> None:
    subject, other = f"control.agent.{source.seed()}", f"control.agent.{source.seed()}"
    assert await world.control.next(subject, after=0) is None
    one = await world.control.append(subject, b"1", expected=0)
    between = await world.control.append(other, b"2", expected=0)
    three = await world.control.append(subject, b"3", expected=one)
    found = [await world.control.next(subject, after=after) for after in (0, one - 1, one, between, three)]
    assert [raw and (raw.sequence, raw.payload) for raw in found] == [
        (one, b"1"),
        (one, b"1"),
        (three, b"3"),
        (three, b"3"),
        None,
    ]


async def test_last_sequence_is_that_of_the_whole_stream(world: LogWorld, source: IdSource) -> None:
    sequence = await world.control.append(f"control.agent.{source.seed()}", b"x", expected=0)
    assert await world.control.last_sequence() == sequence


async def test_an_erased_record_is_gone_and_the_others_stay(world: LogWorld, source: IdSource) -> None:
    subject = f"control.memory_store.{source.seed()}"
    one = await world.control.append(subject, b"secret", expected=0)
    two = await world.control.append(subject, b"two", expected=one)
    for _ in range(2):
        await world.control.erase(one)
    newest = await world.control.last(subject)
    assert newest is not None
    assert newest.sequence == two
    assert await world.read_after_removal(partial(world.control.read, subject), [newest]) == [newest]
    assert await world.control.append(subject, b"three", expected=two) > two
