"""Streams that take appends are told from those that do not, and nothing is written for it."""

import pytest

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.probing import unwilling_streams
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer


async def held(connection: Connection, stream: str) -> int:
    info = await api.call(connection, f"STREAM.INFO.{stream}", {})
    return int(info["state"]["messages"])


async def test_streams_that_work_are_asked_without_a_trace(connection: Connection) -> None:
    assert await unwilling_streams(connection) == []
    assert [await held(connection, stream) for stream in subjects.PROBES] == [0, 0, 0, 0]


@pytest.mark.parametrize("stream", subjects.PROBES)
async def test_a_stream_that_is_gone_is_named(connection: Connection, stream: subjects.Stream) -> None:
    await api.call(connection, f"STREAM.DELETE.{stream}", {})
    assert await unwilling_streams(connection, within_s=0.3) == [stream]


async def test_without_a_server_all_are_unwilling(connection: Connection, server: RunningServer) -> None:
    await nats_server.kill(server)
    assert list(await unwilling_streams(connection, within_s=0.3)) == list(subjects.PROBES)
