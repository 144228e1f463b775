"""Resources of sessions over HTTP: what is attached, where it goes, what is refused, and what goes with the session."""

import io
from pathlib import Path
from typing import Any

import pytest
from anthropic import NotFoundError

from efferent.common.domain.decide_resources import tokens_moved
from efferent.common.domain.sealed import Sealed
from efferent.common.ports import LogUnavailable
from efferent.common.secrets.box import SecretBox
from efferent.common.session_resources import ResourceAttacher
from efferent.gateway.sessions.store import SessionStore
from services.gateway.tests.session_api import Api, api

REPOSITORY = {"type": "github_repository", "url": "https://github.com/acme/tools"}
TOKEN = "ghp_secret-token-that-nobody-may-see"


async def upload(made: Api, content: bytes = b"a,b\n", name: str = "data.csv") -> str:
    file = await made.client.beta.files.upload(file=(name, io.BytesIO(content)))
    return file.id


async def scoped(made: Api, session_id: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await made.call("GET", f"/v1/files?scope_id={session_id}")).body["data"]
    return listed


async def test_a_file_is_copied_for_its_session_and_shown_at_its_place(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        file_id = await upload(made)
        session = await made.client.beta.sessions.create(
            agent=await made.agent(),
            environment_id=await made.environment(),
            resources=[
                {"type": "file", "file_id": file_id, "mount_path": "/data.csv"},
                {"type": "file", "file_id": file_id},
            ],
        )
        first, second = session.resources
        assert first.type == "file"
        assert second.type == "file"
        assert first.mount_path == "/mnt/session/uploads/data.csv"
        assert second.mount_path == f"/mnt/session/uploads/{file_id}"
        assert first.id.startswith("sesrsc_")
        assert len({file_id, first.file_id, second.file_id}) == 3
        copies = await scoped(made, session.id)
        assert {copy["id"] for copy in copies} == {first.file_id, second.file_id}
        assert {(copy["downloadable"], copy["scope"]["id"]) for copy in copies} == {(False, session.id)}
        await made.client.beta.files.delete(file_id)
        assert (await made.client.beta.sessions.retrieve(session.id)).resources == session.resources
        assert len(await scoped(made, session.id)) == 2, "the copies do not go with the original"


async def test_the_five_routes(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session, resources = await made.session(), made.client.beta.sessions.resources
        added = await resources.add(session["id"], type="file", file_id=await upload(made), mount_path="one.csv")
        other = await resources.add(session["id"], type="file", file_id=await upload(made), mount_path="two.csv")
        assert [item async for item in resources.list(session["id"])] == [added, other]
        assert await resources.retrieve(added.id, session_id=session["id"]) == added
        first = await resources.list(session["id"], limit=1)
        assert first.data == [added]
        assert first.next_page is not None
        second = await resources.list(session["id"], limit=1, page=first.next_page)
        assert (second.data, second.next_page) == ([other], None)
        gone = await resources.delete(added.id, session_id=session["id"])
        assert (gone.id, gone.type) == (added.id, "session_resource_deleted")
        with pytest.raises(NotFoundError) as missing:
            await resources.retrieve(added.id, session_id=session["id"])
        assert "Session resource not found." in str(missing.value)
        assert [copy["id"] for copy in await scoped(made, session["id"])] == [other.file_id]
        stale = await made.call("GET", f"/v1/sessions/{session['id']}/resources?limit=1&page={first.next_page}")
        assert (stale.status, stale.message) == (400, "invalid page cursor")
        again = await resources.add(session["id"], type="file", file_id=await upload(made), mount_path="one.csv")
        assert again.mount_path == added.mount_path
        shown = (await made.call("GET", f"/v1/sessions/{session['id']}")).body
        assert [item["id"] for item in shown["resources"]] == [other.id, again.id]
        assert shown["updated_at"] > session["updated_at"]


async def test_copies_that_a_crash_left_behind_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api(tmp_path) as made:
        session, resources = await made.session(), made.client.beta.sessions.resources
        taken = await resources.add(session["id"], type="file", file_id=await upload(made), mount_path="one.csv")
        kept = await resources.add(session["id"], type="file", file_id=await upload(made), mount_path="two.csv")

        async def died(*_: object) -> None:
            raise LogUnavailable("the process died here")

        with monkeypatch.context() as patch:
            patch.setattr(ResourceAttacher, "drop_file", died)
            path = f"/v1/sessions/{session['id']}/resources"
            assert (await made.call("DELETE", f"{path}/{taken.id}")).status == 529
            patch.setattr(SessionStore, "execute", died)
            body = {"type": "file", "file_id": await upload(made), "mount_path": "three.csv"}
            assert (await made.call("POST", path, body)).status == 529
        assert len(await scoped(made, session["id"])) == 3
        sweep = made.gateway._files._sweep if made.gateway._files is not None else None
        assert sweep is not None
        await sweep.run(made.services.store.attached_files)
        assert len(await scoped(made, session["id"])) == 3, "they are young"
        monkeypatch.setattr(sweep, "_age_us", 0)
        await sweep.run(made.services.store.attached_files)
        assert [copy["id"] for copy in await scoped(made, session["id"])] == [kept.file_id]


async def test_what_cannot_be_added_leaves_no_copy(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session, file_id = await made.session(), await upload(made)
        path = f"/v1/sessions/{session['id']}/resources"
        assert (await made.call("POST", path, {"type": "file", "file_id": file_id, "mount_path": "x"})).status == 200
        for body, status, said in (
            ({"type": "file", "file_id": "file_aaaaaaaaaaaaaaaaaaaaaaaa"}, 404, "File not found."),
            ({"type": "file", "file_id": "nonsense"}, 400, "file_id: Invalid file ID."),
            ({"type": "file", "file_id": file_id, "mount_path": "x/y"}, 400, "overlaps another resource: /uploads/x/y"),
            ({"type": "file", "file_id": file_id, "mount_path": "../y"}, 400, 'mount path "../y" escapes /uploads/'),
            (REPOSITORY, 400, 'type: "github_repository" is not a valid value; expected one of file'),
            ({"type": "file"}, 400, "file_id: field is required"),
        ):
            refused = await made.call("POST", path, body)
            assert (refused.status, said in refused.message) == (status, True), refused.body
        assert len(await scoped(made, session["id"])) == 1
        await made.call("POST", f"/v1/sessions/{session['id']}/archive")
        late = await made.call("POST", path, {"type": "file", "file_id": file_id})
        assert (late.status, late.message) == (400, f"session {session['id']} is archived")
        assert len(await scoped(made, session["id"])) == 1


async def test_a_refused_create_leaves_no_copy(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        good = {"type": "file", "file_id": await upload(made)}
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        bad = {"type": "file", "file_id": "file_aaaaaaaaaaaaaaaaaaaaaaaa"}
        refused = await made.call("POST", "/v1/sessions", {**body, "resources": [good, bad]})
        assert (refused.status, refused.message) == (404, "resources[1].file_id: File not found.")
        too_many = [{**good, "mount_path": str(n)} for n in range(501)]
        refused = await made.call("POST", "/v1/sessions", {**body, "resources": too_many})
        assert (refused.status, refused.message) == (400, "resources: at most 500 file resources are allowed")
        assert len((await made.call("GET", "/v1/files")).body["data"]) == 1


async def test_the_same_idempotency_key_makes_the_same_copies_once(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        resources = [{"type": "file", "file_id": await upload(made)}]
        body = {"agent": await made.agent(), "environment_id": await made.environment(), "resources": resources}
        first = await made.call("POST", "/v1/sessions", body, Idempotency_Key="once")
        again = await made.call("POST", "/v1/sessions", body, Idempotency_Key="once")
        assert first.body["resources"] == again.body["resources"]
        assert len(await scoped(made, first.body["id"])) == 1


async def test_an_idempotency_key_finds_its_session_whatever_became_of_what_it_was_made_of(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        file_id, agent = await upload(made), await made.agent()
        body = {
            "agent": agent,
            "environment_id": await made.environment(),
            "resources": [{"type": "file", "file_id": file_id}],
        }
        first = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
        (resource,) = first.body["resources"]
        path = f"/v1/sessions/{first.body['id']}/resources/{resource['id']}"
        assert (await made.call("DELETE", path)).status == 200
        for changed in (None, f"/v1/agents/{agent}/archive"):
            if changed is not None:
                assert (await made.call("POST", changed)).status == 200
            again = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
            assert (again.status, again.body["id"], again.body["resources"]) == (200, first.body["id"], [])
            assert await scoped(made, first.body["id"]) == [], "its copy does not come back"


async def test_a_repositorys_token_is_never_shown_and_can_be_rotated(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        wanted = [
            {**REPOSITORY, "authorization_token": TOKEN, "checkout": {"type": "branch", "name": "main"}},
            {**REPOSITORY, "mount_path": "/workspace/open"},
        ]
        session = await made.session(resources=wanted)
        first, second = session["resources"]
        assert first == {
            "type": "github_repository",
            "id": first["id"],
            "url": REPOSITORY["url"],
            "mount_path": "/workspace/tools",
            "checkout": {"type": "branch", "name": "main"},
            "created_at": first["created_at"],
            "updated_at": first["updated_at"],
        }
        assert (second["mount_path"], second["checkout"]) == ("/workspace/open", None)
        path = f"/v1/sessions/{session['id']}/resources/{second['id']}"
        rotated = await made.call("POST", path, {"authorization_token": f"{TOKEN}-2"})
        assert rotated.status == 200
        assert rotated.body["updated_at"] > second["updated_at"]
        state = (await made.services.store.load(session["id"], made.gateway_workspace)).state
        box = made.gateway_context.vaults.box
        assert state.sealed_tokens is not None
        assert await box.open(session["id"], state.sealed_tokens) == {first["id"]: TOKEN, second["id"]: f"{TOKEN}-2"}
        log = b"".join([raw.payload async for raw in made.records()])
        assert TOKEN.encode() not in log
        refused = await made.call("DELETE", path)
        assert (refused.status, "github_repository resources cannot be removed" in refused.message) == (400, True)
        empty = await made.call("POST", path, {"authorization_token": ""})
        assert (empty.status, TOKEN in str(empty.body)) == (400, False)


async def test_tokens_that_others_rotate_meanwhile_are_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(tmp_path) as made:
        session = await made.session(resources=[{**REPOSITORY, "authorization_token": TOKEN}])
        path = f"/v1/sessions/{session['id']}/resources/{session['resources'][0]['id']}"
        unseal, is_quicker = SecretBox.open, [True]

        async def others_are_quicker(box: SecretBox, owner: str, sealed: Sealed) -> dict[str, str]:
            if is_quicker:
                is_quicker.clear()
                assert (await made.call("POST", path, {"authorization_token": f"{TOKEN}-2"})).status == 200
            return await unseal(box, owner, sealed)

        monkeypatch.setattr(SecretBox, "open", others_are_quicker)
        refused = await made.call("POST", path, {"authorization_token": f"{TOKEN}-3"})
        assert (refused.status, refused.message) == (409, tokens_moved().message)
        assert (await made.call("POST", path, {"authorization_token": f"{TOKEN}-3"})).status == 200


async def test_only_repositories_have_a_token_to_rotate(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(resources=[{"type": "file", "file_id": await upload(made)}])
        (file,) = session["resources"]
        base = f"/v1/sessions/{session['id']}/resources"
        for path, status, said in (
            (f"{base}/{file['id']}", 400, "file resources cannot be updated"),
            (f"{base}/sesrsc_aaaaaaaaaaaaaaaaaaaaaaaa", 404, "Session resource not found."),
            (f"{base}/nonsense", 400, "Invalid session resource ID."),
        ):
            refused = await made.call("POST", path, {"authorization_token": TOKEN})
            assert (refused.status, said in refused.message) == (status, True)


async def test_self_hosted_environments_take_no_files(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        environment = await made.environment(config={"type": "self_hosted"})
        body = {"agent": await made.agent(), "environment_id": environment}
        for resource in (REPOSITORY, {"type": "file", "file_id": await upload(made)}):
            refused = await made.call("POST", "/v1/sessions", {**body, "resources": [resource]})
            assert refused.status == 400
            assert environment in refused.message
            assert "self-hosted" in refused.message
            assert "`resources` are not supported" in refused.message


async def test_another_workspace_sees_neither_files_nor_resources(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        file_id = await upload(made)
        session = await made.session(resources=[{"type": "file", "file_id": file_id}])
        base = f"/v1/sessions/{session['id']}/resources"
        (held,) = session["resources"]
        for method, path, body in (
            ("GET", base, None),
            ("GET", f"{base}/{held['id']}", None),
            ("DELETE", f"{base}/{held['id']}", None),
            ("POST", base, {"type": "file", "file_id": file_id}),
        ):
            refused = await made.call(method, path, body, key=made.other_key)
            assert (refused.status, refused.message) == (404, "Session not found.")


async def test_a_deleted_session_takes_its_files_and_secrets_along(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        file_id = await upload(made)
        session = await made.session(
            resources=[{"type": "file", "file_id": file_id}, {**REPOSITORY, "authorization_token": TOKEN}]
        )
        copy = session["resources"][0]["file_id"]
        assert (await made.call("DELETE", f"/v1/sessions/{session['id']}")).status == 200
        assert (await made.call("GET", f"/v1/files/{copy}")).status == 404
        assert (await made.call("GET", f"/v1/files/{file_id}")).status == 200
        keys = made.gateway_context.vaults.box._keys
        assert list(await keys.ids(session["id"])) == []


async def test_vaults_are_pinned_and_archived_ones_are_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        vault = await made.client.beta.vaults.create(display_name="keys")
        session = await made.session(vault_ids=[vault.id])
        assert session["vault_ids"] == [vault.id]
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        twice = await made.call("POST", "/v1/sessions", {**body, "vault_ids": [vault.id, vault.id]})
        assert (twice.status, "vault_ids[1]: duplicate entry" in twice.message) == (400, True)
        foreign = await made.call("POST", "/v1/sessions", {**body, "vault_ids": [vault.id]}, key=made.other_key)
        assert foreign.status == 404
        await made.client.beta.vaults.archive(vault.id)
        late = await made.call("POST", "/v1/sessions", {**body, "vault_ids": [vault.id]})
        assert (late.status, late.message) == (400, f"vault_ids[0]: vault {vault.id} is archived")
        assert (await made.call("GET", f"/v1/sessions/{session['id']}")).body["vault_ids"] == [vault.id]
        update = await made.call("POST", f"/v1/sessions/{session['id']}", {"vault_ids": []})
        assert (update.status, update.message) == (400, "vault_ids: Not yet supported")
