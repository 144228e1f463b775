"""A cluster of three at three replicas, when the server that leads the stream dies under load."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import streams, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.feed import JetStreamFeed
from efferent.common.jetstream.inbound import ConsumerSpec, JetStreamInboundConsumer
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import IdSource
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.records import message_record, new_session_id, text_of
from tests.support.nats_cluster import leader, running_cluster

WRITERS, RECORDS_EACH = 6, 60
DEADLINE_S = 25.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three servers and a connection that knows all of them."""

    servers: Mapping[str, RunningServer]
    connection: Connection


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with its streams."""
    async with running_cluster(tmp_path) as servers:
        urls, token = [server.url for server in servers.values()], next(iter(servers.values())).token
        connection = await connect(urls, token=token, name="test", within_s=10)
        await streams.declare(connection, replicas=3)
        yield Cluster(servers, connection)
        await connection.close()


async def test_killed_leader_loses_and_doubles_nothing_for_writers_readers_feed_and_consumer(
    cluster: Cluster, source: IdSource
) -> None:
    log = JetStreamSessionLog(cluster.connection, InMemoryBlobs(), deadline_s=DEADLINE_S)
    sessions = [new_session_id(source) for _ in range(WRITERS)]
    acknowledged: dict[SessionId, list[int]] = {session_id: [] for session_id in sessions}
    fed: list[int] = []
    delivered: set[int] = set()
    total = WRITERS * RECORDS_EACH
    some_written = asyncio.Event()

    async def write(session_id: SessionId) -> None:
        last = 0
        for number in range(RECORDS_EACH):
            last = await log.append(session_id, "in", message_record(source, str(number)), expected=last)
            acknowledged[session_id].append(last)
            if number == RECORDS_EACH // 3:
                some_written.set()

    async def feed() -> None:
        async for batch in JetStreamFeed(cluster.connection, subjects.SESSIONS, check_interval_s=0.5).follow(after=0):
            fed.extend(record.sequence for record in batch)
            if len(fed) >= total:
                return

    consumer = JetStreamInboundConsumer(cluster.connection, InMemoryBlobs(), ConsumerSpec(ack_wait_s=1))

    async def consume() -> None:
        async for delivery in consumer.deliveries():
            delivered.add(delivery.stored.sequence)
            await delivery.ack()
            if len(delivered) >= total:
                return

    async with asyncio.timeout(45):
        readers = [asyncio.create_task(feed()), asyncio.create_task(consume())]
        writers = [asyncio.create_task(write(session_id)) for session_id in sessions]
        await some_written.wait()
        await nats_server.kill(await leader(cluster.servers, cluster.connection, subjects.SESSIONS))
        await asyncio.gather(*writers)
        await asyncio.gather(*readers)
        await consumer.close()

    everything = sorted(sequence for sequences in acknowledged.values() for sequence in sequences)
    assert fed == everything
    assert delivered == set(everything)
    for session_id, sequences in acknowledged.items():
        stored = [record async for record in log.read(session_id, reach=sequences[-1])]
        assert [record.sequence for record in stored] == sequences
        assert [text_of(record.record) for record in stored] == [str(number) for number in range(RECORDS_EACH)]
