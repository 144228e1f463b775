"""The projection of the control plane: built again when its file is not to be trusted, never behind its own writes."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.gateway.app import CONTROL_FILE, build
from efferent.gateway.control import tables
from efferent.gateway.control.projection import ControlProjection
from efferent.gateway.errors import Overloaded
from efferent.gateway.progress import Progress
from services.gateway.tests.gateway_rig import WAIT_S, Served, ServerAddress, serve, settings

AGENT = {"name": "a", "model": "offline/echo"}


async def names(served: Served) -> list[str]:
    """Names of all agents, newest first."""
    return [agent["name"] for agent in (await served.call("GET", "/v1/agents")).body["data"]]


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3_000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)


def outdate(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION + 1}")
    db.close()


def belong_to_another_stream(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE state SET value = 'another' WHERE key = 'stream'")
    db.close()


def have_passed_over_a_record(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM resources")
        db.execute("UPDATE state SET value = 1 WHERE key = 'unreadable'")
    db.close()


@pytest.mark.parametrize(
    "damage", [remove, truncate, overwrite, outdate, belong_to_another_stream, have_passed_over_a_record]
)
async def test_a_file_that_is_not_to_be_trusted_is_built_again(
    nats_address: ServerAddress, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async with serve(nats_address, tmp_path / "data") as first:
        for index in range(5):
            await first.call("POST", "/v1/agents", AGENT | {"name": f"a{index}"})
        key = first.key
    file = tmp_path / "data" / "gateway" / CONTROL_FILE
    damage(file)
    async with serve(nats_address, tmp_path / "data") as second:
        second.key = key
        assert await names(second) == ["a4", "a3", "a2", "a1", "a0"]


async def test_a_sound_file_is_not_built_again(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with serve(nats_address, tmp_path / "data") as first:
        await first.call("POST", "/v1/agents", AGENT)
        assert await names(first) == ["a"]
        key = first.key
    file = tmp_path / "data" / "gateway" / CONTROL_FILE
    with sqlite3.connect(file) as db:
        statement = "UPDATE resources SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)"
        db.execute(statement, ('"name":"a"', '"name":"kept"'))
    db.close()
    async with serve(nats_address, tmp_path / "data") as second:
        second.key = key
        assert await names(second) == ["kept"]


async def test_a_start_waits_for_as_much_as_there_is_to_apply(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with serve(nats_address, tmp_path / "one") as one:
        for index in range(30):
            await one.call("POST", "/v1/agents", AGENT | {"name": f"a{index}"})
        end = await one.control_log.last_sequence()
        # No list would wait for so much.
        gateway = build(settings(nats_address, tmp_path / "three", behind_wait_s=0.0005), environ={})
        try:
            await gateway.start()
            assert gateway._control is not None
            assert gateway._control.progress.applied >= end
        finally:
            await gateway.stop()
        async with serve(nats_address, tmp_path / "two", behind_wait_s=0.0005) as two:
            assert two.gateway._control is not None
            own_key = await two.control_log.last_sequence()  # was written after the start
            await two.gateway._control.progress.reach(own_key, WAIT_S)
            two.key = one.key
            assert len(await names(two)) == 20


async def test_a_start_that_applies_nothing_is_given_up(tmp_path: Path) -> None:
    log = InMemoryControlLog(InMemoryStream())
    await log.append("control.agent.agent_a", b"{}", expected=0)
    projection = ControlProjection(tmp_path / "file", log, behind_wait_s=0.01)
    await projection.open("stream")
    with pytest.raises(Overloaded):
        await projection.catch_up_however_long(0.02)
    await projection.close()


async def test_a_client_that_changes_replicas_does_not_miss_its_own_write(
    nats_address: ServerAddress, tmp_path: Path
) -> None:
    async with serve(nats_address, tmp_path / "one") as one, serve(nats_address, tmp_path / "two") as two:
        two.key = one.key
        for index in range(20):
            await one.call("POST", "/v1/agents", AGENT | {"name": f"a{index}"})
            assert (await names(two))[0] == f"a{index}"


async def test_names_stay_unique_across_replicas(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with serve(nats_address, tmp_path / "one") as one, serve(nats_address, tmp_path / "two") as two:
        two.key = one.key
        for index in range(5):
            answers = await asyncio.gather(
                *(replica.call("POST", "/v1/environments", {"name": f"e{index}"}) for replica in (one, two) * 3)
            )
            assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409, 409]


async def test_a_crash_of_the_log_loses_nothing_and_lists_go_on(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with (
        nats_server.running(spec) as server,
        serve(ServerAddress(server.url, server.token), tmp_path / "d") as up,
    ):
        await up.call("POST", "/v1/agents", AGENT | {"name": "before"})
        await nats_server.kill(server)
        async with nats_server.running(spec):
            async with asyncio.timeout(WAIT_S):
                while (await up.call("POST", "/v1/agents", AGENT | {"name": "after"})).status != 200:
                    pass
            assert (await names(up))[:2] == ["after", "before"]


async def test_a_record_that_cannot_be_read_is_counted_and_hides_nothing_else(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with (
        nats_server.running(spec) as server,
        serve(ServerAddress(server.url, server.token), tmp_path / "d") as up,
    ):
        await up.control_log.append("control.agent.agent_new", b'{"v":2}', expected=0)
        await up.control_log.append("control.agent.agent_odd", b"not json", expected=0)
        await up.control_log.append("control.later_kind.x", b"{}", expected=0)
        await up.call("POST", "/v1/agents", AGENT | {"name": "seen"})
        assert await names(up) == ["seen"]
        metrics = (await up.call("GET", "/metrics")).body.decode()
        assert 'efferent_records_unreadable_total{stream="CONTROL"} 2' in metrics


async def test_waiting_for_a_sequence_ends_when_it_is_reached_or_when_it_takes_too_long() -> None:
    progress = Progress(5)
    await progress.reach(5, 0.01)
    early, late = asyncio.create_task(progress.reach(7, 5)), asyncio.create_task(progress.reach(9, 5))
    await asyncio.sleep(0)
    progress.advance(8)
    await early
    assert not late.done()
    progress.advance(9)
    await late
    with pytest.raises(Overloaded):
        await progress.reach(10, 0.01)
    progress.advance(3)
    assert progress.applied == 9
