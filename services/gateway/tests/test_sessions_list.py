"""Listing sessions: filters, both cursors, and seeing one's own writes through any gateway."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from efferent.common.jetstream.connection import connect
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from services.gateway.tests.session_api import Api, api, message, served
from services.gateway.tests.session_rig import WAIT_S


async def listed(made: Api, query: str = "") -> Any:
    return await made.call("GET", f"/v1/sessions{query}")


def ids(answer: Any) -> list[str]:
    assert answer.status == 200, answer.body
    return [session["id"] for session in answer.body["data"]]


async def several(made: Api, count: int) -> list[dict[str, Any]]:
    """Sessions of one agent, oldest first."""
    agent, environment = await made.agent(), await made.environment()
    return [await made.session(agent=agent, environment_id=environment) for _ in range(count)]


async def test_newest_first_unless_asked_otherwise(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        made_ids = [session["id"] for session in await several(made, 3)]
        answer = await listed(made)
        assert ids(answer) == made_ids[::-1]
        assert list(answer.body) == ["data", "next_page", "prev_page"]
        assert (answer.body["next_page"], answer.body["prev_page"]) == (None, None)
        assert ids(await listed(made, "?order=asc")) == made_ids


async def test_items_are_what_retrieving_shows(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(title="t")
        await made.send(session["id"], "go")
        await made.brain(session["id"]).answer("done")
        (item,) = (await listed(made)).body["data"]
        one = (await made.call("GET", f"/v1/sessions/{session['id']}")).body
        for resource in (item, one):
            resource.pop("stats")
        assert item == one


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_lead_forwards_and_back(tmp_path: Path, order: str) -> None:
    async with api(tmp_path) as made:
        expected = [session["id"] for session in await several(made, 5)]
        if order == "desc":
            expected.reverse()
        query = f"?order={order}&limit=2"
        first = await listed(made, query)
        second = await listed(made, f"{query}&page={first.body['next_page']}")
        third = await listed(made, f"{query}&page={second.body['next_page']}")
        assert ids(first) + ids(second) + ids(third) == expected
        assert (first.body["prev_page"], third.body["next_page"]) == (None, None)
        back = await listed(made, f"{query}&page={third.body['prev_page']}")
        assert ids(back) == ids(second)
        start = await listed(made, f"{query}&page={back.body['prev_page']}")
        assert ids(start) == ids(first)
        assert start.body["prev_page"] is None
        again = await listed(made, f"{query}&page={start.body['next_page']}")
        assert ids(again) == ids(second)


async def test_the_official_client_pages_through_all(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        expected = [session["id"] for session in await several(made, 5)]
        seen = [session.id async for session in made.client.beta.sessions.list(limit=2, order="asc")]
        assert seen == expected


async def test_filters(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        one, two, three = await several(made, 3)
        other = await made.session(agent={"type": "agent", "id": one["agent"]["id"], "version": 1})
        foreign = await made.session()
        await made.send(two["id"], "go")
        await made.call("POST", f"/v1/sessions/{three['id']}/archive")
        agent = one["agent"]["id"]
        of_agent = [other["id"], two["id"], one["id"]]
        at = two["created_at"]
        for query, expected in (
            ("?include_archived=true", [foreign["id"], other["id"], three["id"], two["id"], one["id"]]),
            (f"?agent_id={agent}", of_agent),
            (f"?agent_id={agent}&agent_version=1", of_agent),
            (f"?agent_id={agent}&agent_version=2", []),
            ("?agent_id=agent_unknown", []),
            ("?statuses[]=running", [two["id"]]),
            ("?statuses[]=running&statuses[]=terminated&include_archived=true", [three["id"], two["id"]]),
            ("?statuses[]=rescheduling", []),
            ("?deployment_id=depl_x", []),
            ("?memory_store_id=memstore_x", []),
            (f"?created_at[gt]={at}", [foreign["id"], other["id"]]),
            (f"?created_at[gte]={at}", [foreign["id"], other["id"], two["id"]]),
            (f"?created_at[lt]={at}", [one["id"]]),
            (f"?created_at[lte]={at}", [two["id"], one["id"]]),
        ):
            assert ids(await listed(made, query)) == expected, query


REFUSED: list[tuple[str, str]] = [
    ("?agent_version=1", "agent_version: only allowed together with agent_id"),
    ("?agent_id=x", "Invalid agent ID."),
    ("?statuses[]=asleep", 'statuses[0]: "asleep" is not a valid value'),
    ("?order=up", 'order: "up" is not a valid value'),
    ("?limit=0", "limit: must be between 1 and 1000"),
    ("?limit=1001", "limit: must be between 1 and 1000"),
    ("?include_archived=maybe", "include_archived"),
    ("?created_at[gte]=x", "created_at[gte]"),
    ("?page=x", "invalid page cursor"),
]


async def test_queries_that_are_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        for query, said in REFUSED:
            answer = await listed(made, query)
            assert answer.status == 400
            assert answer.message.startswith(said)


async def test_a_cursor_keeps_its_order_and_its_filter_of_time(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        await several(made, 3)
        page = (await listed(made, "?limit=1")).body["next_page"]
        other_order = await listed(made, f"?page={page}&order=asc")
        assert (other_order.status, other_order.message) == (400, "page token order does not match request")
        excluded = await listed(made, f"?page={page}&created_at[lt]=2020-01-01T00:00:00Z")
        assert (excluded.status, excluded.message[:5]) == (400, "page:")
        foreign = await made.call("GET", f"/v1/sessions?page={page}", key=made.other_key)
        assert (foreign.status, foreign.message) == (400, "invalid page cursor")


async def test_a_write_through_one_gateway_is_seen_through_another(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(folder=tmp_path / "n", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], name="test", token=server.token, within_s=WAIT_S)
        async with (
            served(server, connection, tmp_path, name="one") as one,
            served(server, connection, tmp_path, name="two") as two,
        ):
            agent, environment = await one.agent(), await one.environment()
            for index in range(10):
                session = await one.session(agent=agent, environment_id=environment)
                assert ids(await listed(two, "?limit=1")) == [session["id"]]
                await two.send(session["id"], "go")
                await one.send(session["id"], "more")
                shown = (await one.call("GET", f"/v1/sessions/{session['id']}")).body
                assert shown["status"] == "running"
                events = await two.call("GET", f"/v1/sessions/{session['id']}/events?types[]=user.message")
                assert len(events.body["data"]) == 2
                await two.brain(session["id"]).answer("done")
                assert (await one.call("DELETE", f"/v1/sessions/{session['id']}")).status == 200
                assert ids(await listed(two)) == []
                late = await two.call("POST", f"/v1/sessions/{session['id']}/events", {"events": [message("x")]})
                assert late.status == 404, index
        await connection.close()


async def test_a_list_that_cannot_be_current_answers_overloaded(tmp_path: Path) -> None:
    async with api(tmp_path, behind_wait_s=0.05) as made:
        session = await made.session()
        for task in made.services._tasks:
            task.cancel()
        await asyncio.wait(made.services._tasks)
        await made.send(session["id"], "never projected")
        answer = await listed(made)
        assert (answer.status, answer.body["error"]["type"]) == (529, "overloaded_error")
        events = await made.call("GET", f"/v1/sessions/{session['id']}/events?order=desc")
        assert events.status == 529
        assert (await made.call("GET", f"/v1/sessions/{session['id']}/events")).status == 200
        assert (await made.call("GET", f"/v1/sessions/{session['id']}")).body["status"] == "running"
