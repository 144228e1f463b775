"""Webhooks end to end: from what happens in sessions and resources to what a customer's endpoint gets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from anthropic import AsyncAnthropic

from efferent.common.domain.webhook_types import WEBHOOK_TYPES
from tests.support.efferent_server import EfferentServer
from tests.support.foreign_servers import foreign
from tests.support.playing import Played, bash, confirmation, fresh_name, message, scripted, toolset
from tests.support.raw_api import RawApi
from tests.support.secret_search import contents_below
from tests.support.self_hosting import SelfHosted
from tests.support.webhook_receiver import Received, Receiver, receiving


@asynccontextmanager
async def endpoint(client: AsyncAnthropic, receiver: Receiver, *types: Any) -> AsyncIterator[tuple[str, str]]:
    """An endpoint for these types (all, when none is named), removed afterwards; gives its id and its secret."""
    webhooks = client.beta.organization.webhooks
    wanted: list[Any] = [*(types or WEBHOOK_TYPES)]
    made = await webhooks.create(url=receiver.url(), enabled_events=wanted)
    try:
        yield made.id, made.signing_secret
    finally:
        await webhooks.delete(made.id)


def about(identifier: str, *types: str) -> Callable[[Received], bool]:
    """Chooses what is about one resource."""

    def chosen(received: Received) -> bool:
        return bool(received.event["data"]["id"] == identifier) and (not types or received.type in types)

    return chosen


async def told_of(client: AsyncAnthropic, receiver: Receiver, identifier: str, *, at_least: int) -> list[str]:
    """The types that were reported of a resource, in the order of records, once they are so many and one thing more.

    Deliveries of one endpoint are made side by side: that a later one has come does not say that the others have.
    """
    await receiver.until(count=at_least, where=about(identifier))
    last = await client.beta.agents.create(name="the last thing to happen", model="offline/echo")
    await receiver.until(where=about(last.id))
    found = [request for request in receiver.received if request.event["data"]["id"] == identifier]
    return [request.type for request in sorted(found, key=lambda request: request.event["created_at"])]


async def test_a_turn_is_reported_signed_and_after_it_can_be_read(client: AsyncAnthropic) -> None:
    async with receiving() as receiver, endpoint(client, receiver) as (_, secret):
        played = await Played.create(client)
        await played.until_idle(message("hello"))
        [idled] = await receiver.until(where=about(played.id, "session.status_idled"))
        assert (await client.beta.sessions.retrieve(played.id)).status == "idle"
        [started] = await receiver.until(where=about(played.id, "session.status_run_started"))
        event = idled.unwrap(secret)
        assert event.type == "event"
        assert event.id == idled.headers["webhook-id"]
        assert event.id.startswith("whe_")
        assert event.data.type == "session.status_idled"
        assert (event.data.id, started.unwrap(secret).data.id) == (played.id, played.id)
        assert idled.headers["content-type"] == "application/json"


async def test_everything_that_happens_to_a_session_is_reported(client: AsyncAnthropic) -> None:
    async with receiving() as receiver, endpoint(client, receiver):
        played = await Played.create(client, tools=[toolset("always_ask")])
        seen = await played.until_idle(scripted(bash("true"), {"text": "done"}))
        use = next(event for event in seen if event.type == "agent.tool_use")
        await receiver.until(where=about(played.id, "session.requires_action"))
        await played.until_idle(confirmation(use.id))
        await client.beta.sessions.update(played.id, title="another")
        await client.beta.sessions.update(played.id, title="another")
        await client.beta.sessions.archive(played.id)
        await client.beta.sessions.archive(played.id)
        await receiver.until(where=about(played.id, "session.archived"))
        await client.beta.sessions.delete(played.id)
        await receiver.until(where=about(played.id, "session.deleted"))
        types = await told_of(client, receiver, played.id, at_least=14)
    counts = {type_: types.count(type_) for type_ in set(types)}
    assert counts == {
        "session.created": 1,
        "session.status_run_started": 2,
        "session.running": 2,
        "session.status_idled": 2,
        "session.idled": 2,
        "session.requires_action": 1,
        "session.updated": 1,
        "session.archived": 1,
        "session.status_terminated": 1,
        "session.deleted": 1,
    }
    assert len({request.id for request in receiver.received}) == len(receiver.received)


async def test_a_budget_is_reported_once_per_amount(client: AsyncAnthropic) -> None:
    def limit(cents: int) -> Any:
        return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}

    costly = {"input_tokens": 10_000, "output_tokens": 0}  # two cents at the list price of the tests' model
    async with receiving() as receiver, endpoint(client, receiver):
        played = await Played.create(client, budget=limit(2))
        await played.until_idle(scripted({"text": "once", "usage": costly}))
        await receiver.until(where=about(played.id, "session.budget_reached"))
        await client.beta.sessions.update(played.id, budget=limit(3))
        await played.until_idle(scripted({"text": "twice", "usage": costly}))
        reached = await receiver.until(count=2, where=about(played.id, "session.budget_reached"))
        await told_of(client, receiver, played.id, at_least=2)
        assert len({request.id for request in reached}) == 2
        assert len(await receiver.until(where=about(played.id, "session.budget_reached"))) == 2


async def test_a_worker_that_is_woken_finds_its_work(client: AsyncAnthropic, raw: RawApi) -> None:
    hosted = await SelfHosted.create(client, raw)
    async with receiving() as receiver, endpoint(client, receiver, "session.status_run_started"):
        played = await hosted.session()
        await played.send(scripted(bash("true"), {"text": "done"}))
        await receiver.until(where=about(played.id))
        polled = await hosted.work("GET", "/poll")
        assert polled.status == 200, polled.text
        assert polled.json["data"]["id"] == played.id


async def test_resources_are_reported_and_what_changes_nothing_is_not(client: AsyncAnthropic) -> None:
    beta = client.beta
    async with receiving() as receiver, endpoint(client, receiver):
        agent = await beta.agents.create(name="a", model="offline/echo")
        await beta.agents.update(agent.id, version=1, description="d")
        await beta.agents.update(agent.id, version=2, description="d")
        await beta.agents.archive(agent.id)
        await beta.agents.archive(agent.id)
        environment = await beta.environments.create(name=fresh_name("env"))
        await beta.environments.update(environment.id, description="d")
        await beta.environments.update(environment.id, description="d")
        await beta.environments.archive(environment.id)
        await beta.environments.delete(environment.id)
        assert await told_of(client, receiver, agent.id, at_least=3) == [
            "agent.created",
            "agent.updated",
            "agent.archived",
        ]
        assert await told_of(client, receiver, environment.id, at_least=4) == [
            "environment.created",
            "environment.updated",
            "environment.archived",
            "environment.deleted",
        ]


async def test_archiving_a_vault_is_reported_for_each_of_its_credentials(client: AsyncAnthropic) -> None:
    vaults = client.beta.vaults
    async with receiving() as receiver, endpoint(client, receiver):
        vault = await vaults.create(display_name="v")
        made = [
            await vaults.credentials.create(
                vault_id=vault.id,
                display_name="c",
                auth={"type": "static_bearer", "mcp_server_url": f"https://{host}.example.com", "token": "t"},
            )
            for host in ("a", "b")
        ]
        await vaults.archive(vault.id)
        assert await told_of(client, receiver, vault.id, at_least=2) == ["vault.created", "vault.archived"]
        for credential in made:
            types = await told_of(client, receiver, credential.id, at_least=2)
            assert types == ["vault_credential.created", "vault_credential.archived"]
        [received, *_] = await receiver.until(where=about(made[0].id))
        assert received.event["data"]["vault_id"] == vault.id


async def test_deleting_a_vault_is_reported_for_each_of_its_credentials(client: AsyncAnthropic) -> None:
    vaults = client.beta.vaults
    async with receiving() as receiver, endpoint(client, receiver):
        vault = await vaults.create(display_name="v")
        await vaults.update(vault.id, display_name="w")
        made = await vaults.credentials.create(
            vault_id=vault.id,
            auth={"type": "static_bearer", "mcp_server_url": "https://a.example.com", "token": "t"},
        )
        await vaults.credentials.update(made.id, vault_id=vault.id, display_name="c")
        await vaults.delete(vault.id)
        assert await told_of(client, receiver, vault.id, at_least=2) == ["vault.created", "vault.deleted"]
        types = await told_of(client, receiver, made.id, at_least=2)
        assert types == ["vault_credential.created", "vault_credential.deleted"]


async def test_a_token_that_cannot_be_renewed_is_reported(client: AsyncAnthropic) -> None:
    vaults = client.beta.vaults
    async with receiving() as receiver, endpoint(client, receiver) as (_, secret), foreign() as provider:
        vault = await vaults.create(display_name="v")
        made = await vaults.credentials.create(
            vault_id=vault.id,
            auth={
                "type": "mcp_oauth",
                "mcp_server_url": f"{provider.url}/mcp",
                "access_token": "t",
                "refresh": {
                    "client_id": "c",
                    "refresh_token": "r",
                    "token_endpoint": f"{provider.url}/token",
                    "token_endpoint_auth": {"type": "none"},
                },
            },
        )
        tried = await vaults.credentials.mcp_oauth_validate(made.id, vault_id=vault.id)
        assert tried.refresh is not None
        assert tried.refresh.status == "failed"
        [failed] = await receiver.until(where=about(made.id, "vault_credential.refresh_failed"))
        data = failed.unwrap(secret).data
        assert (data.type, data.id, data.vault_id) == ("vault_credential.refresh_failed", made.id, vault.id)


async def test_deployments_are_reported_also_when_they_go_with_their_agent(client: AsyncAnthropic) -> None:
    beta = client.beta
    async with receiving() as receiver, endpoint(client, receiver):
        agent = await beta.agents.create(name="a", model="offline/echo")
        environment = await beta.environments.create(name=fresh_name("env"))
        made = await beta.deployments.create(
            name="nightly",
            agent=agent.id,
            environment_id=environment.id,
            initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "hello"}]}],
        )
        await beta.deployments.update(made.id, description="d")
        for _ in range(2):
            await beta.deployments.pause(made.id)
        for _ in range(2):
            await beta.deployments.unpause(made.id)
        run = await beta.deployments.run(made.id)
        await beta.agents.archive(agent.id)
        await receiver.until(where=about(made.id, "deployment.archived"))
        assert await told_of(client, receiver, made.id, at_least=5) == [
            "deployment.created",
            "deployment.updated",
            "deployment.paused",
            "deployment.unpaused",
            "deployment.archived",
        ]
        assert await told_of(client, receiver, run.id, at_least=0) == [], "runs that were asked for are not reported"
        await receiver.until(where=about(str(run.session_id), "session.created"))


async def test_memory_stores_are_reported_and_their_memories_are_not(client: AsyncAnthropic) -> None:
    stores = client.beta.memory_stores
    async with receiving() as receiver, endpoint(client, receiver):
        store = await stores.create(name=fresh_name("store"))
        memory = await stores.memories.create(store.id, path="/a.md", content="a")
        await stores.update(store.id, description="d")
        await stores.archive(store.id)
        await stores.delete(store.id)
        assert await told_of(client, receiver, store.id, at_least=3) == [
            "memory_store.created",
            "memory_store.archived",
            "memory_store.deleted",
        ]
        assert await told_of(client, receiver, memory.id, at_least=0) == []


async def test_failures_of_the_model_are_reported_as_what_becomes_of_the_session(client: AsyncAnthropic) -> None:
    def failing(status: int, kind: str, **more: Any) -> Any:
        return scripted({"error": {"status": status, "type": kind, "message": "no", **more}, "text": "now"})

    async with receiving() as receiver, endpoint(client, receiver):
        played = await Played.create(client)
        await played.until_idle(failing(529, "overloaded_error", times=1))
        await played.until_idle(failing(400, "invalid_request_error"))
        await receiver.until(where=about(played.id, "session.status_terminated"))
        await receiver.until(
            count=6, where=lambda request: about(played.id)(request) and request.type.startswith("session.status_")
        )
        types = await told_of(client, receiver, played.id, at_least=6)
    assert [type_ for type_ in types if type_.startswith("session.status_")] == [
        "session.status_run_started",
        "session.status_rescheduled",
        "session.status_run_started",
        "session.status_idled",
        "session.status_run_started",
        "session.status_terminated",
    ]


async def test_events_of_other_workspaces_name_their_workspace(client: AsyncAnthropic, server: EfferentServer) -> None:
    workspace_id, _ = await server.beside_it("workspaces", "create", fresh_name("workspace"))
    key, _ = await server.beside_it("keys", "create", "--workspace", workspace_id)
    async with (
        receiving() as receiver,
        endpoint(client, receiver, "agent.created") as (_, secret),
        AsyncAnthropic(base_url=server.base_url, api_key=key, max_retries=0) as other,
    ):
        agent = await other.beta.agents.create(name="a", model="offline/echo")
        [received] = await receiver.until(where=about(agent.id))
        assert received.unwrap(secret).data.workspace_id == workspace_id


async def test_a_retry_comes_also_when_the_automation_was_killed_in_between(
    client: AsyncAnthropic, server: EfferentServer
) -> None:
    async with (
        receiving(lambda _: web.Response(status=503)) as receiver,
        endpoint(client, receiver, "agent.created") as (_, secret),
    ):
        agent = await client.beta.agents.create(name="a", model="offline/echo")
        await receiver.until(where=about(agent.id))
        server.kill("automation")
        receiver.answer = lambda _: web.Response(status=200)
        first, second = await receiver.until(count=2, where=about(agent.id))
        assert first.unwrap(secret).id == second.unwrap(secret).id
        assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"]) + 4


async def test_a_killed_automation_loses_no_event(client: AsyncAnthropic, server: EfferentServer) -> None:
    async with receiving() as receiver, endpoint(client, receiver, "agent.created"):
        made = []
        for index in range(30):
            made.append((await client.beta.agents.create(name="a", model="offline/echo")).id)
            if index == 15:
                server.kill("automation")
        for identifier in made:
            await receiver.until(where=about(identifier))


async def test_no_secret_is_in_anything_that_the_server_wrote(client: AsyncAnthropic, server: EfferentServer) -> None:
    async with receiving() as receiver, endpoint(client, receiver, "agent.created") as (endpoint_id, secret):
        new = (await client.beta.organization.webhooks.regenerate_signing_secret(endpoint_id)).signing_secret
        agent = await client.beta.agents.create(name="a", model="offline/echo")
        [received] = await receiver.until(where=about(agent.id))
        received.unwrap(new)
        needles = [text.removeprefix("whsec_").encode() for text in (secret, new)]
        for file, content in contents_below(server.log_file, server.output_file, server.data_dir):
            assert not any(needle in content for needle in needles), file
