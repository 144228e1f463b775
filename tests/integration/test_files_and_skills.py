"""Files and skills through the official client against the whole server, in both flavours of the routes."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.lib import files_from_dir

from tests.support.playing import fresh_name

FLAVOURS = pytest.mark.parametrize("flavour", ["beta", "plain"])


def skill_md(name: str, description: str = "Does things.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\n# How\n".encode()


def zipped(name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/SKILL.md", skill_md(name))
        archive.writestr(f"{name}/scripts/run.py", b"print('hello')")
    return target.getvalue()


@FLAVOURS
async def test_a_large_file_goes_up_and_is_listed_and_deleted(
    client: AsyncAnthropic, tmp_path: Path, flavour: str
) -> None:
    files: Any = client.beta.files if flavour == "beta" else client.files
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1024) * (20 * 1024))
    made = await files.upload(file=large, expires_in_seconds=86_400)
    assert (made.filename, made.size_bytes, made.downloadable) == ("large.bin", 20 * 1024 * 1024, False)
    assert await files.retrieve_metadata(made.id) == made
    assert [file.id async for file in files.list(ids=[made.id])] == [made.id]
    assert made.id in [file.id async for file in files.list(limit=1_000)]
    with pytest.raises(anthropic.BadRequestError, match="is not downloadable"):
        await files.download(made.id)
    assert (await files.delete(made.id)).type == "file_deleted"
    with pytest.raises(anthropic.NotFoundError, match="File not found"):
        await files.retrieve_metadata(made.id)


@FLAVOURS
async def test_a_skill_lives_from_folder_to_deletion(client: AsyncAnthropic, tmp_path: Path, flavour: str) -> None:
    skills: Any = client.beta.skills if flavour == "beta" else client.skills
    name = fresh_name("skill").lower().replace("_", "-").replace(" ", "-")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(skill_md(name))
    made = await skills.create(files=files_from_dir(str(folder)))
    assert made.display_name == name
    second = await skills.versions.create(made.id, files=[("skill.zip", zipped(name), "application/zip")])
    assert (await skills.retrieve(made.id)).latest_version_id == second.id
    assert await skills.versions.retrieve(second.id, skill_id=made.id) == second
    assert [version.id async for version in skills.versions.list(made.id)] == [second.id, made.latest_version_id]
    assert made.id in [skill.id async for skill in skills.list(source="custom", limit=1_000)]
    content = await client.beta.skills.versions.download(second.id, skill_id=made.id)
    with zipfile.ZipFile(io.BytesIO(await content.read())) as archive:
        assert archive.namelist() == [f"{name}/SKILL.md", f"{name}/scripts/run.py"]
    for version in (second.id, made.latest_version_id):
        await skills.versions.delete(version, skill_id=made.id)
    assert (await skills.delete(made.id)).type == "skill_deleted"
