"""Threads: every session has its primary one."""

from pathlib import Path

from services.gateway.tests.session_api import api
from services.gateway.tests.test_streams_live import TURN


async def test_a_new_session_has_its_primary_thread(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        threads = [thread async for thread in made.client.beta.sessions.threads.list(session["id"])]
        (thread,) = threads
        assert thread.parent_thread_id is None
        assert thread.session_id == session["id"]
        assert thread.status == "idle"
        assert thread.stats is None
        assert thread.usage is None
        assert thread.agent.to_dict()["name"] == session["agent"]["name"]
        again = await made.client.beta.sessions.threads.retrieve(thread.id, session_id=session["id"])
        assert again == thread


async def test_the_primary_threads_history_and_stream_are_the_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        brain = made.brain(session["id"])
        thread_id = (await brain.look()).primary_thread_id
        path = f"/v1/sessions/{session['id']}/threads/{thread_id}"
        async with made.stream(f"{path}/stream") as stream:
            await made.send(session["id"], "hello")
            await brain.answer("hi")
            streamed = await stream.events(len(TURN))
        listed = await made.call("GET", f"{path}/events")
        assert [event["type"] for event in streamed] == TURN
        assert listed.body == {"data": streamed, "next_page": None}
        first = await made.call("GET", f"{path}/events?limit=4")
        rest = await made.call("GET", f"{path}/events?limit=1000&page={first.body['next_page']}")
        assert first.body["data"] + rest.body["data"] == streamed
        worked = await made.call("GET", path)
        assert worked.body["stats"] is not None
        assert worked.body["usage"] is not None


async def test_statuses_filter_and_pages_of_the_list(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        path = f"/v1/sessions/{(await made.session())['id']}/threads"
        assert len((await made.call("GET", f"{path}?statuses[]=idle&statuses[]=running")).body["data"]) == 1
        assert (await made.call("GET", f"{path}?statuses[]=running")).body == {"data": [], "next_page": None}
        assert (await made.call("GET", f"{path}?statuses[]=asleep")).status == 400
        assert (await made.call("GET", f"{path}?page=x")).message == "invalid page cursor"
        assert (await made.call("GET", f"{path}?limit=1001")).status == 400


async def test_the_primary_thread_is_not_archived_and_others_are_not_found(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        thread_id = (await made.brain(session["id"]).look()).primary_thread_id
        path = f"/v1/sessions/{session['id']}/threads"
        primary = await made.call("POST", f"{path}/{thread_id}/archive")
        assert (primary.status, primary.body["error"]["type"]) == (400, "invalid_request_error")
        await made.send(session["id"], "go")
        running = await made.call("POST", f"{path}/{thread_id}/archive")
        assert (running.status, "is running" in running.message) == (400, True)
        for suffix, method in (("", "GET"), ("/events", "GET"), ("/stream", "GET"), ("/archive", "POST")):
            unknown = await made.call(method, f"{path}/sthr_unknown{suffix}")
            assert (unknown.status, unknown.message) == (404, "Session thread not found.")
            malformed = await made.call(method, f"{path}/nonsense{suffix}")
            assert (malformed.status, malformed.message) == (400, "Invalid session thread ID.")
