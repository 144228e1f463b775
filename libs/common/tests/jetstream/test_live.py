"""Token deltas and presence on core NATS."""

import asyncio

import orjson

from efferent.common.domain.ids import BrainId, SessionId
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.live import (
    DEAD_AFTER_S,
    SESSIONS_TOLD_MAX,
    PresenceBeacon,
    PresenceBoard,
    TokenDeltas,
)
from efferent.common.testing.fake_clock import FakeClock

ONE, TWO = BrainId("brain_one"), BrainId("brain_two")
SESSION, OTHER = SessionId("sesn_one"), SessionId("sesn_two")


async def beat(connection: Connection, brain_id: BrainId, *sessions: SessionId) -> None:
    """One heartbeat, heard by every board of this connection before this returns."""
    await PresenceBeacon(connection, brain_id, lambda: sessions).announce()
    await connection.flush(20)


async def settled(connection: Connection, clock: FakeClock) -> PresenceBoard:
    """A board that has listened long enough and still hears somebody."""
    board = PresenceBoard(connection, clock)
    await board.start()
    clock.advance(DEAD_AFTER_S)
    await beat(connection, BrainId("brain_self"))
    return board


async def test_deltas_reach_those_who_listen_to_the_session(connection: Connection) -> None:
    deltas = TokenDeltas(connection)
    subscription = await deltas.subscribe(SESSION)
    await deltas.publish(OTHER, b"not for us")
    await deltas.publish(SESSION, b"one")
    await deltas.publish(SESSION, b"two")
    async with asyncio.timeout(20):
        assert [await anext(subscription), await anext(subscription)] == [b"one", b"two"]
    await subscription.close()
    assert [delta async for delta in subscription] == []


async def test_slow_reader_of_deltas_loses_some_and_knows_it(connection: Connection) -> None:
    deltas = TokenDeltas(connection)
    subscription = await deltas.subscribe(SESSION, waiting_max=2)
    for number in range(5):
        await deltas.publish(SESSION, b"%d" % number)
    await connection.flush(20)
    assert subscription.dropped == 3
    await subscription.close()


async def test_brain_that_beats_is_alive_and_holds_what_it_says(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    await beat(connection, ONE, SESSION)
    assert board.is_alive(ONE) is True
    assert board.holder_of(SESSION) == ONE
    assert board.holder_of(OTHER) is None
    await beat(connection, ONE, OTHER)
    assert (board.holder_of(SESSION), board.holder_of(OTHER)) == (None, ONE)
    await board.stop()


async def test_brain_that_falls_silent_is_dead_after_the_limit(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    await beat(connection, ONE, SESSION)
    clock.advance(DEAD_AFTER_S - 0.1)
    assert board.is_alive(ONE) is True
    await beat(connection, TWO)
    clock.advance(0.2)
    assert board.is_alive(ONE) is False
    assert board.holder_of(SESSION) is None
    assert board.alive() == {TWO}
    await board.stop()


async def test_unheard_brain_is_unknown_until_a_full_period_has_passed(connection: Connection) -> None:
    clock = FakeClock()
    board = PresenceBoard(connection, clock)
    assert board.is_alive(ONE) is None
    await board.start()
    await beat(connection, TWO)
    clock.advance(DEAD_AFTER_S - 0.1)
    assert board.is_alive(ONE) is None
    await beat(connection, TWO)
    clock.advance(0.1)
    assert board.is_alive(ONE) is False
    await board.stop()


async def test_listener_that_hears_nobody_calls_nobody_dead(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    await beat(connection, ONE)
    clock.advance(DEAD_AFTER_S * 4)
    assert board.is_alive(ONE) is None
    await board.stop()


async def test_good_bye_counts_at_once(connection: Connection) -> None:
    clock = FakeClock()
    board = PresenceBoard(connection, clock)
    await board.start()
    beacon = PresenceBeacon(connection, ONE, lambda: [SESSION])
    await beacon.start()
    await connection.flush(20)
    assert board.is_alive(ONE) is True
    await beacon.stop()
    await connection.flush(20)
    assert board.is_alive(ONE) is False
    assert board.holder_of(SESSION) is None
    await board.stop()


async def test_last_to_speak_holds_a_session_that_two_brains_name(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    await beat(connection, ONE, SESSION)
    clock.advance(0.5)
    await beat(connection, TWO, SESSION)
    assert board.holder_of(SESSION) == TWO
    await board.stop()


async def test_heartbeats_come_each_second_until_stopped(connection: Connection) -> None:
    beats: asyncio.Queue[list[str]] = asyncio.Queue()
    await connection.subscribe(
        subjects.presence(ONE), lambda message: beats.put_nowait(orjson.loads(message.data).get("sessions", []))
    )
    held = [SESSION]
    beacon = PresenceBeacon(connection, ONE, lambda: held)
    await beacon.start()
    async with asyncio.timeout(20):
        assert await beats.get() == [SESSION]
        held.append(OTHER)
        while (told := await beats.get()) == [SESSION]:
            pass  # it was on its way already
        assert told == [SESSION, OTHER]
    await beacon.stop()


async def test_heartbeat_names_no_more_sessions_than_the_limit(connection: Connection) -> None:
    beats: asyncio.Queue[int] = asyncio.Queue()
    await connection.subscribe(
        subjects.presence(ONE), lambda message: beats.put_nowait(len(orjson.loads(message.data)["sessions"]))
    )
    held = [SessionId(f"sesn_{number}") for number in range(SESSIONS_TOLD_MAX + 1)]
    await PresenceBeacon(connection, ONE, lambda: held).announce()
    async with asyncio.timeout(20):
        assert await beats.get() == SESSIONS_TOLD_MAX


async def test_nonsense_on_a_presence_subject_is_ignored(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    for nonsense in (b"", b"[1]", b'{"sessions": 3}', b"null"):
        await connection.publish(subjects.presence(ONE), nonsense)
    await connection.flush(20)
    assert board.is_alive(ONE) is False
    await board.stop()


async def test_brains_dead_for_long_are_forgotten(connection: Connection) -> None:
    clock = FakeClock()
    board = await settled(connection, clock)
    await beat(connection, ONE)
    clock.advance(DEAD_AFTER_S * 200)
    await beat(connection, TWO)
    assert list(board._heard) == [TWO]
    await board.stop()
