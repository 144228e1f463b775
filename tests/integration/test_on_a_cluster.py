"""A server whose log is a cluster of three at three replicas: resources, turns, and the death of a stream's leader."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.runtime import nats_server
from efferent.common.runtime.nats_server import RunningServer
from tests.integration.conftest import model_environ
from tests.support.backups import everything
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.model_control import ModelControl
from tests.support.nats_cluster import leader, running_cluster
from tests.support.playing import Played, bash, fresh_name, of_type, scripted, text_of

pytestmark = pytest.mark.timeout(300)  # three nats-servers and a whole server, beside other tests


@dataclass(frozen=True, slots=True)
class OnCluster:
    """A server, its client, and the cluster that its log is."""

    server: EfferentServer
    client: AsyncAnthropic
    connection: Connection
    nats: Mapping[str, RunningServer]

    async def kill_leader(self, stream: str) -> None:
        """End the nats-server that leads a stream, for good."""
        await nats_server.kill(await leader(self.nats, self.connection, stream))


@asynccontextmanager
async def serving(folder: Path, model_url: str) -> AsyncIterator[OnCluster]:
    async with running_cluster(folder) as nats:
        urls, token = [each.url for each in nats.values()], next(iter(nats.values())).token
        log = {"NATS_URL": ",".join(urls), "EFFERENT_NATS_TOKEN": token, "EFFERENT_NATS_REPLICAS": "3"}
        server = EfferentServer(folder / "data", {**model_environ(model_url, folder), **log})
        connection = await connect(urls, token=token, name="test", within_s=20)
        try:
            await asyncio.to_thread(server.start)
            async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, timeout=60) as client:
                yield OnCluster(server, client, connection, nats)
        finally:
            assert await asyncio.to_thread(server.stop) == 0, server.tail()
            await connection.close()


async def change_everything(client: AsyncAnthropic) -> None:
    """Resources of every mechanism; each is read again right after each change."""
    beta = client.beta
    agent = await beta.agents.create(name="one", model="offline/echo")
    await beta.agents.update(agent.id, version=agent.version, name="two")
    assert (await beta.agents.retrieve(agent.id)).name == "two"

    store = await beta.memory_stores.create(name=fresh_name("store"))
    memory = await beta.memory_stores.memories.create(store.id, path="/a.md", content="one")
    for content in ("two", "three"):
        await beta.memory_stores.memories.update(memory.id, memory_store_id=store.id, content=content)
        read = await beta.memory_stores.memories.retrieve(memory.id, memory_store_id=store.id, view="full")
        assert read.content == content
    versions = [each async for each in beta.memory_stores.memory_versions.list(store.id)]
    assert len(versions) == 3
    await beta.memory_stores.memory_versions.redact(versions[-1].id, memory_store_id=store.id)

    vault = await beta.vaults.create(display_name="keys")
    auth: Any = {"type": "static_bearer", "token": "a-secret", "mcp_server_url": "https://mcp.example.com/mcp"}
    credential = await beta.vaults.credentials.create(vault.id, auth=auth)
    rotated: Any = {"type": "static_bearer", "token": "another-secret"}
    await beta.vaults.credentials.update(credential.id, vault_id=vault.id, auth=rotated)
    await beta.vaults.credentials.archive(credential.id, vault_id=vault.id)
    assert (await beta.vaults.credentials.retrieve(credential.id, vault_id=vault.id)).archived_at is not None

    file = await beta.files.upload(file=("notes.txt", b"kept", "text/plain"))
    assert file.id in [each.id async for each in beta.files.list()]
    await beta.files.delete(file.id)
    assert file.id not in [each.id async for each in beta.files.list()]


async def play_one_turn(played: Played, words: str) -> None:
    """A turn with a tool, and its history."""
    seen = await played.until_idle(scripted(bash(f"echo {words}"), {"text": f"said {words}"}), deadline_s=60)
    assert words in text_of(of_type(seen, "agent.tool_result")[-1])
    assert text_of(of_type(await played.events(), "agent.message")[-1]) == f"said {words}"


async def test_a_server_on_a_cluster_goes_on_when_a_leader_dies(
    tmp_path: Path, model_url: str, model: ModelControl
) -> None:
    async with serving(tmp_path, model_url) as on:
        assert "nats" not in on.server.pids()
        found = (await api.call(on.connection, "STREAM.LIST", {}))["streams"]
        replicas = {stream["config"]["name"]: stream["config"]["num_replicas"] for stream in found}
        assert set(replicas) >= set(subjects.ON_DISK)
        assert set(replicas.values()) == {3}

        await change_everything(on.client)
        played = await Played.create(on.client)
        await play_one_turn(played, "before")
        before = await everything(on.client, [played.id])
        await on.kill_leader(subjects.SESSIONS)
        assert await everything(on.client, [played.id]) == before
        await play_one_turn(played, "after")
        await change_everything(on.client)
        deleted = await Played.create(on.client)
        await play_one_turn(deleted, "gone soon")
        await on.client.beta.sessions.delete(deleted.id)
        assert [session.id async for session in on.client.beta.sessions.list()] == [played.id]
