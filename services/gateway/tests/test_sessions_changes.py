"""Updating, archiving and deleting sessions."""

from pathlib import Path
from typing import Any

from efferent.common.domain.ids import SessionId
from efferent.common.jetstream import subjects
from services.gateway.tests.session_api import api, message


async def types_of(made: Any, session_id: str) -> list[str]:
    listed = await made.call("GET", f"/v1/sessions/{session_id}/events")
    return [event["type"] for event in listed.body["data"]]


async def test_an_update_changes_what_it_names_and_says_only_that(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(title="old", metadata={"a": "1", "b": "2"})
        path = f"/v1/sessions/{session['id']}"
        changed = await made.client.beta.sessions.update(session["id"], metadata={"a": None, "c": "3"})
        assert (changed.title, changed.metadata) == ("old", {"b": "2", "c": "3"})
        assert (await made.call("POST", path, {"title": "new"})).body["title"] == "new"
        assert (await made.call("GET", path)).body["title"] == "new"
        assert (await made.call("POST", path, {"title": None})).body["title"] is None
        events = (await made.call("GET", f"{path}/events")).body["data"]
        assert [{k: v for k, v in event.items() if k not in ("id", "processed_at")} for event in events] == [
            {"type": "session.updated", "metadata": {"b": "2", "c": "3"}},
            {"type": "session.updated", "title": "new"},
            {"type": "session.updated", "title": None},
        ]


async def test_an_update_without_effect_records_nothing(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(title="same", metadata={"a": "1"})
        before = await made.log.last_sequence(SessionId(session["id"]))
        for body in ({}, {"title": "same"}, {"metadata": {"a": "1", "x": None}}, {"metadata": None}, {"budget": None}):
            assert (await made.call("POST", f"/v1/sessions/{session['id']}", body)).status == 200
        assert await made.log.last_sequence(SessionId(session["id"])) == before


async def test_the_agents_tools_change_while_idle_and_apply_as_a_whole(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}"
        tool = {"type": "custom", "name": "lookup", "description": "d", "input_schema": {"type": "object"}}
        changed = await made.call("POST", path, {"agent": {"tools": [tool]}})
        assert [tool["name"] for tool in changed.body["agent"]["tools"]] == ["lookup"]
        (event,) = (await made.call("GET", f"{path}/events")).body["data"]
        assert event["agent"] == changed.body["agent"]
        assert (await made.call("POST", path, {"agent": {"tools": []}})).body["agent"]["tools"] == []
        await made.send(session["id"], "go")
        running = await made.call("POST", path, {"agent": {"tools": [tool]}})
        assert (running.status, running.message) == (
            400,
            "agent: the session must not be running when its agent is updated",
        )


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"vault_ids": []}, "vault_ids: Not yet supported"),
    ({"budget": {"type": "limit"}}, "budget.max_list_cost: field is required"),
    ({"agent": {"model": "offline/echo"}}, "agent.model: unknown field"),
    ({"agent": {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}}, "references server"),
    ({"metadata": {"k" * 65: "v"}}, "metadata: keys must be"),
    ({"metadata": {str(n): "v" for n in range(17)}}, "metadata: at most 16 pairs"),
    ({"status": "idle"}, "status: unknown field"),
]


async def test_updates_that_are_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        for body, said in REFUSED:
            session = await made.session()
            answer = await made.call("POST", f"/v1/sessions/{session['id']}", body)
            assert answer.status == 400
            assert said in answer.message
            assert await types_of(made, session["id"]) == []


async def test_archive_makes_an_idle_session_read_only_and_repeats_harmlessly(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        archived = await made.client.beta.sessions.archive(session["id"])
        assert archived.status == "terminated"
        assert archived.archived_at is not None
        again = await made.client.beta.sessions.archive(session["id"])
        assert again.archived_at == archived.archived_at
        assert await types_of(made, session["id"]) == ["session.thread_status_terminated", "session.status_terminated"]
        update = await made.call("POST", f"/v1/sessions/{session['id']}", {"title": "x"})
        assert (update.status, update.message) == (400, f"session {session['id']} is archived")


async def test_a_running_session_is_neither_archived_nor_deleted(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(initial_events=[message("go")])
        archive = await made.call("POST", f"/v1/sessions/{session['id']}/archive")
        assert (archive.status, archive.message) == (
            400,
            f'Session {session["id"]} cannot be archived while its status is "running". '
            "Only pending or idle sessions may be archived.",
        )
        delete = await made.call("DELETE", f"/v1/sessions/{session['id']}")
        assert (delete.status, delete.message) == (
            400,
            "Cannot delete session while it is running. Send an interrupt event or wait for the session to complete.",
        )
        brain = made.brain(session["id"])
        await brain.answer("done")
        assert (await made.call("DELETE", f"/v1/sessions/{session['id']}")).status == 200


async def test_a_deleted_session_leaves_a_tombstone_and_nothing_else(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        await made.send(session["id"], "x" * 400_000)
        await made.brain(session["id"]).answer("done")
        session_id = SessionId(session["id"])
        blobs = tmp_path / "one" / "blobs"
        assert any(session_id in str(path) for path in blobs.rglob("*"))
        deleted = await made.client.beta.sessions.delete(session_id)
        assert (deleted.id, deleted.type) == (session_id, "session_deleted")
        assert await made.log.last_sequence(session_id) == 0
        assert not any(session_id in str(path) for path in blobs.rglob("*") if path.is_file())
        assert await made.control_log.last(subjects.control("session", session_id)) is not None
        assert (await made.call("GET", "/v1/sessions")).body["data"] == []
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/archive"),
            ("GET", "/events"),
            ("GET", "/events/stream"),
            ("GET", "/threads"),
        ):
            answer = await made.call(method, f"/v1/sessions/{session_id}{path}")
            assert (answer.status, answer.message) == (404, "Session not found.")
        late = await made.call("POST", f"/v1/sessions/{session_id}/events", {"events": [message("x")]})
        assert (late.status, late.message) == (404, "Session not found.")


async def test_another_workspace_can_do_nothing_with_a_session(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}"
        calls: list[tuple[str, str, object]] = [
            ("GET", path, None),
            ("POST", path, {"title": "x"}),
            ("POST", f"{path}/archive", None),
            ("DELETE", path, None),
            ("GET", f"{path}/threads", None),
        ]
        for method, target, body in calls:
            answer = await made.call(method, target, body, key=made.other_key)
            assert (answer.status, answer.message) == (404, "Session not found.")
        assert (await made.call("GET", "/v1/sessions", key=made.other_key)).body["data"] == []
