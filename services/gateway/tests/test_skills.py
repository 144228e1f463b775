"""``/v1/skills`` with the official client and without: uploads, versions, lists, downloads, refusals."""

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import aiohttp
import anthropic
import orjson
import pytest

from efferent.common.skills.package import UPLOAD_BYTES_MAX
from services.gateway.tests.gateway_rig import VERSION, Answer, Served


def skill_md(name: str = "pdf-tools", description: str = "Fills in forms.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\n# How\n".encode()


def files(name: str = "pdf-tools", **more: Any) -> list[tuple[str, bytes, str]]:
    """What the client sends of a folder."""
    return [
        (f"{name}/SKILL.md", skill_md(name, **more), "text/markdown"),
        (f"{name}/run.sh", b"#!/bin/sh", "text/x-sh"),
    ]


def archive(name: str = "pdf-tools") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        made.writestr(f"{name}/SKILL.md", skill_md(name))
    return target.getvalue()


async def post(served: Served, path: str, *parts: tuple[str, bytes | str, str | None]) -> Answer:
    """A form of (field, value, filename)."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for field, value, filename in parts:
        form.add_field(field, io.BytesIO(value) if isinstance(value, bytes) else value, filename=filename)
    sent = {"x-api-key": served.key, "anthropic-version": VERSION}
    async with served.http.post(served.url + path, data=form, headers=sent) as response:
        return Answer(response.status, response.headers.copy(), orjson.loads(await response.read()))


def blobs(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data" / "blobs").rglob("*.zip") if path.is_file()]


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return {name: found.read(name) for name in found.namelist()}


@pytest.mark.parametrize("flavour", ["beta", "plain"])
async def test_the_official_client_makes_versions_and_deletes_a_skill(served: Served, flavour: str) -> None:
    sdk = served.sdk()
    skills: Any = sdk.beta.skills if flavour == "beta" else sdk.skills
    made = await skills.create(files=files(), display_name="PDF Tools")
    assert (made.type, made.display_name, made.source.type) == ("skill", "PDF Tools", "custom")
    assert made.created_at == made.updated_at
    second = await skills.versions.create(made.id, files=files(description="Better."))
    assert (second.type, second.skill_id, second.name, second.description) == (
        "skill_version",
        made.id,
        "pdf-tools",
        "Better.",
    )
    found = await skills.retrieve(made.id)
    assert found.latest_version_id == second.id
    assert found.updated_at > found.created_at
    assert await skills.versions.retrieve("latest", skill_id=made.id) == second
    assert await skills.versions.retrieve(second.id, skill_id=made.id) == second
    versions = [version.id async for version in skills.versions.list(made.id, limit=1)]
    assert versions == [second.id, made.latest_version_id]
    assert [skill.id async for skill in skills.list()] == [made.id]
    with pytest.raises(anthropic.BadRequestError, match="Delete all of its versions first"):
        await skills.delete(made.id)
    for version in versions:
        gone = await skills.versions.delete(version, skill_id=made.id)
        assert (gone.id, gone.type) == (version, "skill_version_deleted")
    assert (await skills.retrieve(made.id)).latest_version_id == ""
    deleted = await skills.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "skill_deleted")
    assert [skill.id async for skill in skills.list()] == []
    with pytest.raises(anthropic.NotFoundError, match="Skill not found"):
        await skills.retrieve(made.id)


async def test_a_version_is_downloaded_as_the_zip_of_its_folder(served: Served, tmp_path: Path) -> None:
    sdk = served.sdk()
    made = await sdk.beta.skills.create(files=files())
    content = await sdk.beta.skills.versions.download("latest", skill_id=made.id)
    assert unpacked(await content.read()) == {"pdf-tools/SKILL.md": skill_md(), "pdf-tools/run.sh": b"#!/bin/sh"}
    answer = await served.call("GET", f"/v1/skills/{made.id}/versions/{made.latest_version_id}/content")
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''pdf-tools.zip"
    await sdk.beta.skills.versions.delete(made.latest_version_id, skill_id=made.id)
    assert blobs(tmp_path) == []


async def test_a_zip_makes_the_same_skill_as_its_files(served: Served) -> None:
    answer = await post(served, "/v1/skills", ("files[]", archive(), "skill.zip"))
    assert answer.status == 200, answer.body
    assert set(answer.body) == {
        "id", "type", "display_name", "latest_version_id", "source", "created_at", "updated_at",
    }  # fmt: skip
    assert answer.body["display_name"] == "pdf-tools"


async def test_older_clients_call_the_display_name_otherwise(served: Served) -> None:
    answer = await post(served, "/v1/skills", ("display_title", "Old", None), ("files[]", archive(), "skill.zip"))
    assert answer.body["display_name"] == "Old"


async def test_lists_have_a_source_and_tell_whether_there_is_more(served: Served) -> None:
    made = [
        (await post(served, "/v1/skills", ("files[]", archive(name), "x.zip"))).body["id"] for name in ("a", "b", "c")
    ]
    first = (await served.call("GET", "/v1/skills?limit=2")).body
    assert [skill["id"] for skill in first["data"]] == [made[2], made[1]]
    assert first["has_more"] is True
    rest = (await served.call("GET", f"/v1/skills?limit=2&source=custom&page={first['next_page']}")).body
    assert (len(rest["data"]), rest["has_more"], rest["next_page"]) == (1, False, None)
    none = (await served.call("GET", "/v1/skills?source=anthropic")).body
    assert none == {"data": [], "next_page": None, "has_more": False}
    for query in ("limit=0", "limit=1001", "source=nobody", "page=x"):
        assert (await served.call("GET", f"/v1/skills?{query}")).error[0] == 400
    assert (await served.call("GET", "/v1/skills?limit=1000")).status == 200


async def test_cursors_of_versions_belong_to_their_skill(served: Served) -> None:
    one, two = [
        (await post(served, "/v1/skills", ("files[]", archive(name), "x.zip"))).body["id"] for name in ("a", "b")
    ]
    for _ in range(2):
        await post(served, f"/v1/skills/{one}/versions", ("files[]", archive("a"), "x.zip"))
    page = (await served.call("GET", f"/v1/skills/{one}/versions?limit=1")).body
    assert (len(page["data"]), page["has_more"]) == (1, True)
    newest = page["data"][0]["id"]
    await served.call("DELETE", f"/v1/skills/{one}/versions/{newest}")  # a cursor outlives what it stands on
    rest = (await served.call("GET", f"/v1/skills/{one}/versions?page={page['next_page']}")).body
    assert (len(rest["data"]), rest["has_more"], rest["next_page"]) == (2, False, None)
    other = await served.call("GET", f"/v1/skills/{two}/versions?page={page['next_page']}")
    assert other.error == (400, "invalid_request_error", "invalid page cursor")


async def test_a_display_name_is_taken_once_per_workspace(served: Served, tmp_path: Path) -> None:
    first = await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))
    again = await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))
    text = f'display_name: a skill named "pdf-tools" already exists: {first.body["id"]}'
    assert again.error == (400, "invalid_request_error", text)
    assert len(blobs(tmp_path)) == 1
    named = await post(served, "/v1/skills", ("files[]", archive(), "x.zip"), ("display_name", "Other", None))
    assert named.status == 200
    _, served.key = await served.new_workspace()
    assert (await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))).status == 200


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "files: no file was sent"),
        ([("files[]", skill_md(), "SKILL.md")], "files: 'SKILL.md' is neither a zip archive"),
        ([("files[]", skill_md("x"), "pdf-tools/SKILL.md")], 'files: the folder is called "pdf-tools" and must be'),
        ([("files[]", b"x", "../SKILL.md")], "files: '../SKILL.md' is not the path of a skill's file"),
        ([("files[]", b"PK\x03\x04 no zip", "x.zip")], "files: the zip archive is damaged"),
        ([("files[]", archive(), "x.zip"), ("display_name", "n" * 256, None)], "display_name: must be 1 to 255"),
        ([("files[]", archive(), "x.zip"), ("display_name", "a\nb", None)], "display_name: must be a single line"),
        (
            [("files[]", archive(), "x.zip"), ("dispaly_name", "x", None)],
            "Failed to parse request: dispaly_name: unknown",
        ),
        ([("display_name", "x", None), ("display_name", "y", None)], "Failed to parse request: display_name: unknown"),
    ],
)
async def test_an_upload_that_is_no_skill_is_refused(
    served: Served, tmp_path: Path, parts: list[tuple[str, Any, str | None]], message: str
) -> None:
    # A form without parts cannot be written by the client that this test uses.
    answer = await post(served, "/v1/skills", *(parts or [("display_name", "x", None)]))
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(message)
    assert blobs(tmp_path) == []


async def test_an_upload_over_thirty_megabytes_is_413(served: Served) -> None:
    head = skill_md()
    rest = bytes(UPLOAD_BYTES_MAX - len(head))
    full = [("files[]", head, "pdf-tools/SKILL.md"), ("files[]", rest, "pdf-tools/zeros")]
    text = f"files: a skill is at most {UPLOAD_BYTES_MAX} bytes"
    answer = await post(served, "/v1/skills", *full, ("files[]", b"x", "pdf-tools/more"))
    assert answer.error == (413, "request_too_large", text)
    assert (await post(served, "/v1/skills", *full)).status == 200


async def test_a_later_version_keeps_the_name(served: Served) -> None:
    made = await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))
    path = f"/v1/skills/{made.body['id']}/versions"
    answer = await post(served, path, ("files[]", archive("other"), "x.zip"))
    assert answer.error[0] == 400
    assert answer.error[2].startswith('SKILL.md: name must stay "pdf-tools" in all versions of a skill')
    answer = await post(served, path, ("files[]", archive(), "x.zip"), ("display_name", "x", None))
    assert answer.error[2] == "Failed to parse request: display_name: unknown field"


async def test_skills_of_another_workspace_are_not_there(served: Served) -> None:
    made = (await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))).body
    _, served.key = await served.new_workspace()
    skill, version = f"/v1/skills/{made['id']}", f"/v1/skills/{made['id']}/versions/{made['latest_version_id']}"
    for method, path in (
        ("GET", skill),
        ("DELETE", skill),
        ("GET", f"{skill}/versions"),
        ("GET", version),
        ("GET", f"{version}/content"),
        ("DELETE", version),
    ):
        assert (await served.call(method, path)).error == (404, "not_found_error", "Skill not found.")
    answer = await post(served, f"{skill}/versions", ("files[]", archive(), "x.zip"))
    assert answer.error == (404, "not_found_error", "Skill not found.")
    assert (await served.call("GET", "/v1/skills")).body["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v1/skills/x", (400, "Invalid skill ID.")),
        ("GET", "/v1/skills/xlsx", (400, "Invalid skill ID.")),
        ("GET", "/v1/skills/skill_unknown", (404, "Skill not found.")),
        ("GET", "/v1/skills/{}/versions/1759178010641129", (400, "Invalid skill version ID.")),
        ("GET", "/v1/skills/{}/versions/skillver_unknown", (404, "Skill version not found.")),
        ("GET", "/v1/skills/{}/versions/skillver_unknown/content", (404, "Skill version not found.")),
        ("DELETE", "/v1/skills/{}/versions/skillver_unknown", (404, "Skill version not found.")),
        ("DELETE", "/v1/skills/{}/versions/latest", (400, "Invalid skill version ID.")),
    ],
)
async def test_malformed_ids_are_400_and_unknown_ones_404(
    served: Served, method: str, path: str, error: tuple[int, str]
) -> None:
    made = (await post(served, "/v1/skills", ("files[]", archive(), "x.zip"))).body
    status, _, message = (await served.call(method, path.format(made["id"]))).error
    assert (status, message) == error


SKILL_BETA: Final = "skills-2025-10-02"


@pytest.mark.parametrize("beta", [None, SKILL_BETA, "managed-agents-2026-04-01", "something-unknown"])
async def test_no_beta_header_is_needed_and_any_is_taken(served: Served, beta: str | None) -> None:
    assert (await served.call("GET", "/v1/skills", headers={"anthropic-beta": beta})).status == 200


async def test_clients_of_the_first_skills_beta_call_versions_by_number(served: Served) -> None:
    made = await post(served, "/v1/skills", ("files[]", archive("a"), "x.zip"))
    path = f"/v1/skills/{made.body['id']}/versions"
    older = {"anthropic-beta": "skills-2025-10-02"}
    (listed,) = (await served.call("GET", path, headers=older)).body["data"]
    assert (listed["directory"], listed["version"].isdecimal(), len(listed["version"])) == ("a", True, 16)
    assert (await served.call("GET", f"{path}/{listed['version']}", headers=older)).body == listed
    assert (await served.call("GET", f"{path}/{listed['id']}", headers=older)).body == listed
    assert (await served.call("GET", f"{path}/{listed['version']}/content", headers=older)).status == 200
    assert "version" not in (await served.call("GET", f"{path}/{listed['id']}")).body
    assert (await served.call("GET", f"{path}/{listed['version']}")).error[0] == 400
    unknown = await served.call("GET", f"{path}/1", headers=older)
    assert unknown.error == (404, "not_found_error", "Skill version not found.")
    gone = await served.call("DELETE", f"{path}/{listed['version']}", headers=older)
    assert gone.body == {"id": listed["id"], "type": "skill_version_deleted"}
