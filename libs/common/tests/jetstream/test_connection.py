"""One connection: answers, losses and reconnects."""

import asyncio

import pytest

from efferent.common.jetstream.connection import Connection, Message, RequestFailed, connect
from efferent.common.ports import LogUnavailable
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import RunningServer, ServerSpec


async def test_no_server_within_the_time_is_unavailable() -> None:
    with pytest.raises(LogUnavailable, match="no NATS server"):
        await connect([f"nats://127.0.0.1:{free_port()}"], name="test", within_s=0.2)


async def test_connect_waits_for_a_server_that_starts_later(spec: ServerSpec) -> None:
    connecting = asyncio.create_task(connect([spec.url], token=spec.token, name="test", within_s=20))
    async with nats_server.running(spec):
        connection = await connecting
        assert connection.is_connected
        await connection.close()


async def test_request_that_nobody_answers_fails_at_once(connection: Connection) -> None:
    with pytest.raises(RequestFailed, match="nobody answers"):
        await connection.request("nobody.home", timeout_s=30)
    with pytest.raises(RequestFailed, match="nobody answers"):
        await connection.request_many("nobody.home", b"", timeout_s=30)


async def test_request_whose_answer_does_not_come_fails_after_its_timeout(connection: Connection) -> None:
    silent = await connection.subscribe("silent", lambda message: None)
    with pytest.raises(RequestFailed, match="no answer"):
        await connection.request("silent", timeout_s=0.05)
    await silent.end()


async def test_subscriber_that_fails_does_not_end_the_connection(connection: Connection) -> None:
    seen: asyncio.Queue[Message] = asyncio.Queue()

    def deliver(message: Message) -> None:
        if message.data == b"bad":
            raise ValueError("cannot")
        seen.put_nowait(message)

    await connection.subscribe("work", deliver)
    await connection.publish("work", b"bad")
    await connection.publish("work", b"good")
    async with asyncio.timeout(20):
        assert (await seen.get()).data == b"good"


async def test_ended_subscription_delivers_nothing_more(connection: Connection) -> None:
    seen: list[Message] = []
    subscription = await connection.subscribe("work", seen.append)
    await subscription.end()
    await subscription.end()
    await connection.publish("work", b"late")
    await connection.flush(20)
    assert seen == []


async def test_waiting_request_fails_when_the_connection_is_lost_and_the_next_one_works_after_the_restart(
    connection: Connection, server: RunningServer
) -> None:
    await connection.subscribe("silent", lambda message: None)
    changes: asyncio.Queue[bool] = asyncio.Queue()
    stop_listening = connection.on_change(changes.put_nowait)
    waiting = asyncio.create_task(connection.request("silent", timeout_s=30))
    await connection.flush(20)
    await nats_server.kill(server)
    async with asyncio.timeout(20):
        with pytest.raises(RequestFailed, match="lost"):
            await waiting
        assert await changes.get() is False
    with pytest.raises(RequestFailed, match="not connected"):
        await connection.request("$JS.API.INFO", timeout_s=30)
    async with nats_server.running(server.spec):
        async with asyncio.timeout(20):
            assert await changes.get() is True
        assert b"streams" in (await connection.request("$JS.API.INFO", timeout_s=5)).data
    stop_listening()


async def test_publish_over_the_limit_without_a_server_is_refused_not_kept(
    connection: Connection, server: RunningServer
) -> None:
    lost = asyncio.Event()
    connection.on_change(lambda connected: lost.set())
    await nats_server.kill(server)
    async with asyncio.timeout(20):
        await lost.wait()
    megabyte = bytes(1024 * 1024)
    taken = [await connection.publish("anywhere", megabyte) for _ in range(9)]
    assert taken[0]
    assert not taken[-1]
    assert not await connection.publish_if_connected("anywhere", b"x")
