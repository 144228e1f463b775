"""Two replicas of the gateway on one log: what is written through one is read through the other at once."""

from collections.abc import AsyncIterator, Iterator

import anthropic
import pytest
from anthropic import AsyncAnthropic

from efferent.common.runtime.free_port import free_port
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import MODEL, Played, message, of_type, scripted, types_of


@pytest.fixture(scope="module")
def second_gateway(server: EfferentServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    environ = {"EFFERENT_PORT": str(port), "EFFERENT_DATA_DIR": str(folder)}
    environ["EFFERENT_SECRET_KEY_FILE"] = str(server.data_dir / "secret.key")
    with server.beside("gateway", folder / "gateway.log", **environ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def other(second_gateway: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=second_gateway, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk


async def test_every_write_through_one_is_in_the_next_list_of_the_other(
    client: AsyncAnthropic, other: AsyncAnthropic
) -> None:
    for _ in range(20):
        agent = await client.beta.agents.create(name="a", model=MODEL)
        listed = await other.beta.agents.list(limit=1)
        assert listed.data[0].id == agent.id
        played = await Played.create(client)
        sessions = await other.beta.sessions.list(limit=1)
        assert sessions.data[0].id == played.id
        assert (await other.beta.sessions.retrieve(played.id)).status == "idle"


async def test_a_session_is_played_through_both(client: AsyncAnthropic, other: AsyncAnthropic) -> None:
    here = await Played.create(client)
    there = Played(other, here.id)
    async with there.watch(event_deltas=["agent.message"]) as watch:
        await here.send(scripted({"text": "one two three four"}))
        await watch.until("session.status_idle")
        assert "event_delta" in types_of(watch.seen)
        await there.send(message("and again"))
        await watch.until("session.status_idle", count=2)
    assert [event.id for event in await here.events()] == [event.id for event in await there.events()]
    assert len(of_type(await here.events(), "agent.message")) == 2


async def test_a_conflict_is_a_conflict_whichever_gateway_is_asked(
    client: AsyncAnthropic, other: AsyncAnthropic
) -> None:
    agent = await client.beta.agents.create(name="a", model=MODEL)
    await other.beta.agents.update(agent.id, version=1, name="b")
    with pytest.raises(anthropic.ConflictError):
        await client.beta.agents.update(agent.id, version=1, name="c")


async def test_a_session_deleted_through_one_ends_the_streams_of_the_other(
    client: AsyncAnthropic, other: AsyncAnthropic
) -> None:
    played = await Played.create(client)
    async with Played(other, played.id).watch() as watch:
        await client.beta.sessions.delete(played.id)
        await watch.until_end()
    assert types_of(watch.seen) == ["session.deleted"]
    with pytest.raises(anthropic.NotFoundError):
        await other.beta.sessions.retrieve(played.id)
