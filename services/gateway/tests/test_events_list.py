"""The history of a session, in pages."""

from pathlib import Path
from typing import Any

from efferent.gateway.routes.events import LISTABLE_TYPES
from services.gateway.tests.session_api import Api, api
from services.gateway.tests.test_streams_live import TURN


async def history(made: Api, session_id: str, query: str = "") -> Any:
    return await made.call("GET", f"/v1/sessions/{session_id}/events{query}")


async def turns(made: Api, count: int) -> str:
    """A session with this many text turns."""
    session_id: str = (await made.session())["id"]
    brain = made.brain(session_id)
    for index in range(count):
        await made.send(session_id, f"question {index}")
        await brain.answer(f"answer {index}")
    return session_id


def types(answer: Any) -> list[str]:
    return [event["type"] for event in answer.body["data"]]


async def all_pages(made: Api, session_id: str, query: str) -> list[dict[str, Any]]:
    """Every page of a list, one after the other."""
    found, page = [], ""
    for _ in range(100):
        answer = await history(made, session_id, f"?{query}{page}")
        assert answer.status == 200, answer.body
        assert list(answer.body) == ["data", "next_page"]
        found += answer.body["data"]
        if answer.body["next_page"] is None:
            return found
        page = f"&page={answer.body['next_page']}"
    raise AssertionError("the pages have no end")


def test_all_types_but_the_one_that_ends_a_session_can_be_asked_for() -> None:
    assert len(LISTABLE_TYPES) == 41


async def test_history_is_what_the_stream_shows_in_the_order_of_appending(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = (await made.session())["id"]
        async with made.stream(f"/v1/sessions/{session_id}/events/stream") as stream:
            await made.send(session_id, "hello")
            await made.brain(session_id).answer("hi")
            streamed = await stream.events(len(TURN))
        listed = await history(made, session_id)
        assert listed.body == {"data": streamed, "next_page": None}


async def test_the_official_client_pages_through_everything_once(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 3)
        seen = [event.id async for event in made.client.beta.sessions.events.list(session_id, limit=4)]
        assert len(seen) == len(set(seen)) == 3 * len(TURN)


async def test_pages_of_any_size_give_the_same_history(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 3)
        whole = (await history(made, session_id)).body["data"]
        for limit in (1, 4, 9, 26, 27, 28):
            assert await all_pages(made, session_id, f"limit={limit}") == whole
            assert await all_pages(made, session_id, f"order=desc&limit={limit}") == whole[::-1]


async def test_types_filter_counts_only_what_it_shows(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 3)
        wanted = "types[]=agent.message&types%5B%5D=user.message"
        first = await history(made, session_id, f"?{wanted}&limit=3")
        assert types(first) == ["user.message", "agent.message", "user.message"]
        assert len(await all_pages(made, session_id, f"{wanted}&limit=2")) == 6
        refused = await history(made, session_id, "?types[]=agent.message&types[]=session.deleted")
        assert (refused.status, refused.message[:33]) == (400, 'types[1]: "session.deleted" is no')


async def test_created_at_compares_with_the_time_of_processing(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 2)
        whole = (await history(made, session_id)).body["data"]
        at = whole[5]["processed_at"]
        for bound, expected in (("gt", whole[6:]), ("gte", whole[5:]), ("lt", whole[:5]), ("lte", whole[:6])):
            answer = await history(made, session_id, f"?created_at[{bound}]={at}")
            assert answer.body["data"] == expected
        offset = at.replace("Z", "%2B00:00")
        assert (await history(made, session_id, f"?created_at[gte]={offset}")).body["data"] == whole[5:]
        refused = await history(made, session_id, "?created_at[gte]=yesterday")
        assert (refused.status, "created_at[gte]" in refused.message) == (400, True)


async def test_a_cursor_belongs_to_its_list_and_order(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id, other = await turns(made, 1), await turns(made, 1)
        page = (await history(made, session_id, "?limit=2")).body["next_page"]
        assert page is not None
        for query, text in (
            (f"?order=desc&page={page}", "page token order does not match request"),
            ("?page=nonsense", "invalid page cursor"),
            (f"?page={page[:-2]}AA", "invalid page cursor"),
            (f"?page={page}&created_at[gt]=2999-01-01T00:00:00Z", "page: the created_at filter excludes"),
        ):
            answer = await history(made, session_id, query)
            assert (answer.status, answer.message[: len(text)]) == (400, text)
        assert (await history(made, other, f"?page={page}")).message == "invalid page cursor"
        changed = await history(made, session_id, f"?page={page}&limit=3&types[]=agent.message")
        assert types(changed) == ["agent.message"]


async def test_waiting_events_come_last_without_a_time_and_outside_cursors(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 1)
        echoes = await made.send(session_id, "first", "second")
        for order in ("asc", "desc"):
            answer = await history(made, session_id, f"?order={order}")
            assert answer.body["data"][-2:] == echoes
            assert [echo["processed_at"] for echo in echoes] == [None, None]
        paged = await all_pages(made, session_id, "limit=9")
        assert paged[-2:] == echoes
        assert len(paged) == len(TURN) + 2
        assert types(await history(made, session_id, "?types[]=agent.message")) == ["agent.message"]
        timed = await history(made, session_id, "?created_at[gte]=2020-01-01T00:00:00Z")
        assert len(timed.body["data"]) == len(TURN)


async def test_limits_are_between_one_and_a_thousand(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = (await made.session())["id"]
        for limit in ("0", "1001", "-1", "x"):
            answer = await history(made, session_id, f"?limit={limit}")
            assert (answer.status, answer.message[:6]) == (400, "limit:")


async def test_histories_of_unknown_foreign_and_malformed_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = await turns(made, 0)
        assert (await history(made, "sesn_unknown")).status == 404
        assert (await history(made, "x")).status == 400
        path = f"/v1/sessions/{session_id}/events"
        assert (await made.call("GET", path, key=made.other_key)).status == 404


async def test_large_events_are_listed_and_streamed_whole(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session_id = (await made.session())["id"]
        text = "x" * 400_000
        async with made.stream(f"/v1/sessions/{session_id}/events/stream") as stream:
            await made.send(session_id, text)
            # The message is in a blob of the gateway's own; the brain reads it from there.
            await made.brain(session_id).answer("long")
            streamed = await stream.events(len(TURN))
        assert streamed[2]["content"][0]["text"] == text
        assert (await history(made, session_id)).body["data"] == streamed
