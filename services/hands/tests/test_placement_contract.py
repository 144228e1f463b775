"""Files, skills and memory stores in a sandbox, the same with both backends, and what is collected from it."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.hands.collector import MEMORIES_MAX
from services.hands.tests.hands_client import SESSION, Client, Outcome, Running, Start


@pytest.fixture
def blobs(tmp_path: Path) -> LocalFolderBlobs:
    return LocalFolderBlobs(tmp_path / "blobs")


def archive(**files: str) -> bytes:
    """A skill's archive, with one top folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, text in files.items():
            made.writestr(f"pdf-forms/{name.replace('__', '/').replace('_', '.')}", text)
    return buffer.getvalue()


def memory(path: str, text: str, key: str) -> wire.PlacedMemory:
    return wire.PlacedMemory(path=path, blob_key=key, content_sha256=hashlib.sha256(text.encode()).hexdigest())


async def prepare(client: Client, name: str, **parts: Any) -> None:
    await client.stub.Prepare(wire.PrepareRequest(session_id=SESSION, placement=name, **parts))


async def read(client: Client, path: str, placement: str) -> Outcome:
    return await client.execute("read", {"file_path": path}, placement=placement)


async def write(client: Client, path: str, content: str, placement: str = "") -> Outcome:
    return await client.execute("write", {"file_path": path, "content": content}, placement=placement)


async def collect(client: Client) -> wire.CollectResponse:
    return await client.stub.Collect(wire.CollectRequest(session_id=SESSION))


def file(path: str, key: str, size_bytes: int = 3) -> wire.PlacedFile:
    return wire.PlacedFile(path=f"/mnt/session/uploads/{path}", blob_key=key, size_bytes=size_bytes)


async def test_files_come_and_go_in_a_live_sandbox(client: Client, blobs: LocalFolderBlobs) -> None:
    await blobs.put("sesn_one/files/a", b"one")
    await blobs.put("sesn_one/files/b", b"two")
    await prepare(client, "p1", files=[file("deep/a.txt", "sesn_one/files/a")])
    assert (await read(client, "/mnt/session/uploads/deep/a.txt", "p1")).ok() == "one"
    await prepare(client, "p2", files=[file("deep/a.txt/b", "sesn_one/files/b"), file("c", "sesn_one/files/a")])
    assert (await read(client, "/mnt/session/uploads/deep/a.txt/b", "p2")).ok() == "two"
    await prepare(client, "p3", files=[file("c", "sesn_one/files/b")])
    assert (await read(client, "/mnt/session/uploads/c", "p3")).ok() == "two"
    assert (await read(client, "/mnt/session/uploads/deep/a.txt/b", "p3")).is_error


async def test_a_call_that_needs_another_placement_is_not_run(client: Client, blobs: LocalFolderBlobs) -> None:
    await blobs.put("sesn_one/files/a", b"one")
    for placement in ("p1", "p2"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await write(client, "made", "x", placement)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        await prepare(client, "p1", files=[file("a", "sesn_one/files/a")])
    with pytest.raises(grpc.aio.AioRpcError):
        await write(client, "made", "x")


async def test_a_placement_outlives_the_hands(start_hands: Start, backend: str, blobs: LocalFolderBlobs) -> None:
    await blobs.put("sesn_one/files/a", b"one")
    first = await start_hands(backend=backend)
    await prepare(first.client, "p1", files=[file("a", "sesn_one/files/a")])
    await first.service.stop()
    second = await start_hands(backend=backend)
    assert (await read(second.client, "/mnt/session/uploads/a", "p1")).ok() == "one"


async def test_uploads_skills_and_read_only_memory_cannot_be_written(
    start_hands: Start, blobs: LocalFolderBlobs
) -> None:
    hands = await start_hands(backend="bubblewrap")
    await blobs.put("sesn_one/files/a", b"one")
    await blobs.put("skill_one/versions/1", archive(SKILL_md="how to", scripts__run_sh="echo ran"))
    await blobs.put("memstore_one/1", b"remember")
    await prepare(
        hands.client,
        "p1",
        files=[file("a", "sesn_one/files/a")],
        skills=[wire.PlacedSkill(name="pdf-forms", blob_key="skill_one/versions/1")],
        stores=[
            wire.PlacedStore(
                path="/mnt/memory/notes", read_only=True, memories=[memory("/n.md", "remember", "memstore_one/1")]
            )
        ],
    )
    command = (
        "cat /mnt/session/uploads/a /workspace/skills/pdf-forms/SKILL.md /mnt/memory/notes/n.md;"
        "sh skills/pdf-forms/scripts/run.sh;"
        "for f in /mnt/session/uploads/a skills/pdf-forms/SKILL.md /mnt/memory/notes/n.md /mnt/memory/new; do"
        " (echo x > $f) 2>/dev/null && echo written $f; rm -f $f 2>/dev/null && [ -e $f ] || true; done;"
        "mv skills gone 2>/dev/null && echo moved; ls /mnt/memory"
    )
    said = (await hands.client.execute("bash", {"command": command}, placement="p1")).text
    assert "written" not in said
    assert "moved" not in said
    assert "ran" in said


async def test_a_broken_skill_does_not_keep_the_session_from_working(client: Client, blobs: LocalFolderBlobs) -> None:
    await blobs.put("skill_one/versions/1", b"no archive")
    wicked = io.BytesIO()
    with zipfile.ZipFile(wicked, "w") as made:
        made.writestr("x/../../../../escaped", "x")
    await blobs.put("skill_two/versions/1", wicked.getvalue())
    await blobs.put("skill_three/versions/1", archive(SKILL_md="fine"))
    names = (("one", "skill_one"), ("two", "skill_two"), ("three", "skill_three"), ("four", "skill_gone"))
    await prepare(
        client, "p1", skills=[wire.PlacedSkill(name=name, blob_key=f"{skill}/versions/1") for name, skill in names]
    )
    assert (await read(client, "/workspace/skills/three/SKILL.md", "p1")).ok() == "fine"
    assert (await read(client, "/workspace/skills/two/SKILL.md", "p1")).is_error


async def test_memory_changes_are_collected_and_the_store_wins(hands: Running, blobs: LocalFolderBlobs) -> None:
    client = hands.client
    for number, text in enumerate(("one", "two", "three")):
        await blobs.put(f"memstore_one/{number}", text.encode())
    placed = [
        memory("/kept.md", "one", "memstore_one/0"),
        memory("/changed.md", "two", "memstore_one/1"),
        memory("/gone/old.md", "three", "memstore_one/2"),
    ]
    store = wire.PlacedStore(path="/mnt/memory/notes", memories=placed)
    await prepare(client, "p1", stores=[store])
    assert not (await collect(client)).memories
    (await write(client, "/mnt/memory/notes/new/made.md", "mine", "p1")).ok()
    (await write(client, "/mnt/memory/notes/changed.md", "two and more", "p1")).ok()
    (await write(client, "/mnt/memory/notes/large.md", "x" * 102_401, "p1")).ok()
    (hands.session_folder() / "memory/notes/gone/old.md").unlink()
    changes = {change.path: change for change in (await collect(client)).memories}
    assert set(changes) == {"/new/made.md", "/changed.md", "/gone/old.md"}
    assert (changes["/new/made.md"].written, changes["/new/made.md"].base_sha256) == (b"mine", "")
    assert changes["/changed.md"].base_sha256 == hashlib.sha256(b"two").hexdigest()
    assert (changes["/gone/old.md"].deleted, changes["/gone/old.md"].store_path) == (True, "/mnt/memory/notes")
    await blobs.put("memstore_one/3", b"somebody else")
    after = [placed[0], memory("/changed.md", "somebody else", "memstore_one/3"), memory("/new/made.md", "mine", "x")]
    await blobs.put("x", b"mine")
    await prepare(client, "p2", stores=[wire.PlacedStore(path="/mnt/memory/notes", memories=after)])
    assert not (await collect(client)).memories
    assert (await read(client, "/mnt/memory/notes/changed.md", "p2")).ok() == "somebody else"


async def test_what_an_agent_writes_while_its_last_change_is_being_kept_is_not_lost(
    hands: Running, blobs: LocalFolderBlobs
) -> None:
    client, root = hands.client, hands.session_folder() / "memory/notes"

    async def stored(number: int, **memories: str) -> None:
        for text in memories.values():
            await blobs.put(f"memstore_one/{text}", text.encode())
        placed = [memory(f"/{name}", text, f"memstore_one/{text}") for name, text in memories.items()]
        stores = [wire.PlacedStore(path="/mnt/memory/notes", memories=placed)]
        await prepare(client, f"p{number}", stores=stores)

    async def changes() -> dict[str, tuple[str, str]]:
        return {
            change.path: ("deleted" if change.deleted else change.written.decode(), change.base_sha256)
            for change in (await collect(client)).memories
        }

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    await stored(1, kept="1", again="1", others="1", reverted="1")
    for name, text in {"kept": "2", "new": "2", "others": "2", "reverted": "2"}.items():
        (root / name).write_text(text)
    (root / "again").unlink()
    assert await changes() == {
        "/kept": ("2", sha("1")),
        "/new": ("2", ""),
        "/others": ("2", sha("1")),
        "/reverted": ("2", sha("1")),
        "/again": ("deleted", sha("1")),
    }
    for name, text in {"kept": "3", "new": "3", "others": "3", "again": "3", "reverted": "1"}.items():
        (root / name).write_text(text)
    await stored(2, kept="2", new="2", others="foreign", reverted="2")
    assert {path.name: path.read_text() for path in root.iterdir()} == {
        "kept": "3",
        "new": "3",
        "others": "foreign",
        "again": "3",
        "reverted": "1",
    }
    assert await changes() == {
        "/kept": ("3", sha("2")),
        "/new": ("3", sha("2")),
        "/again": ("3", ""),
        "/reverted": ("1", sha("2")),
    }
    await stored(3, kept="3", new="3", again="3", reverted="1", others="foreign")
    assert await changes() == {}
    await stored(4, kept="2", others="foreign")
    assert {path.name: path.read_text() for path in root.iterdir()} == {"kept": "2", "others": "foreign"}


async def test_a_memory_that_is_only_out_of_sight_is_not_deleted(hands: Running, blobs: LocalFolderBlobs) -> None:
    client, root = hands.client, hands.session_folder() / "memory/notes"
    await blobs.put("memstore_one/1", b"one")
    paths = ("/zz/last.md", "/wide\u3000space.md", "/fixed\u00a0space.md", "/closed/a.md", "/replaced.md")
    placed = [memory(path, "one", "memstore_one/1") for path in paths]
    await prepare(client, "p1", stores=[wire.PlacedStore(path="/mnt/memory/notes", memories=placed)])
    assert not (await collect(client)).memories
    (root / "replaced.md").unlink()
    (root / "replaced.md").symlink_to("wide\u3000space.md")
    (root / "closed").chmod(0)
    (root / "aa").mkdir()
    for number in range(MEMORIES_MAX):
        (root / "aa" / f"{number}").touch()
    try:
        changes = (await collect(client)).memories
        assert [change.path for change in changes if change.deleted] == []
        (root / "zz/last.md").unlink()
        gone = [change.path for change in (await collect(client)).memories if change.deleted]
        assert gone == ["/zz/last.md"]
    finally:
        (root / "closed").chmod(0o755)


async def test_outputs_of_any_name_are_collected(hands: Running) -> None:
    folder = hands.session_folder() / "outputs"
    await collect(hands.client)
    folder.mkdir(parents=True, exist_ok=True)
    names = ["a: b?.txt", "new\nline", "wide\u3000space"]
    for name in (*names, b"not \xff text".decode(errors="surrogateescape")):
        (folder / name).write_text("x")
    found = (await collect(hands.client)).outputs
    assert sorted(item.path for item in found) == sorted(names)
    assert [await output(hands.client, item) for item in found] == [b"x"] * 3


async def test_outputs_are_collected_once_until_they_change(client: Client) -> None:
    assert not (await collect(client)).outputs
    (await write(client, "/mnt/session/outputs/nested/report.md", "first")).ok()
    (found,) = (await collect(client)).outputs
    assert (found.path, found.size_bytes) == ("nested/report.md", 5)
    assert await output(client, found) == b"first"
    await client.stub.Settle(wire.SettleRequest(session_id=SESSION, outputs=[found]))
    assert not (await collect(client)).outputs
    (await write(client, "/mnt/session/outputs/nested/report.md", "second")).ok()
    (again,) = (await collect(client)).outputs
    assert await output(client, again) == b"second"
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await output(client, found)
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


async def output(client: Client, found: wire.Output) -> bytes:
    request = wire.ReadOutputRequest(session_id=SESSION, path=found.path, stamp=found.stamp)
    return b"".join([chunk.data async for chunk in client.stub.ReadOutput(request)])


async def test_links_in_outputs_and_memory_lead_nowhere(hands: Running, tmp_path: Path) -> None:
    client, folder = hands.client, hands.session_folder()
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    await prepare(client, "p1", stores=[wire.PlacedStore(path="/mnt/memory/notes")])
    (folder / "outputs/link").symlink_to(secret)
    (folder / "outputs/folder").symlink_to(tmp_path)
    (folder / "memory/notes/link.md").symlink_to(secret)
    (folder / "memory/notes/way").symlink_to(tmp_path)
    found = await collect(client)
    assert (list(found.outputs), list(found.memories)) == ([], [])
    for path in ("link", "folder/secret", "../journal", "/etc/passwd"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await output(client, wire.Output(path=path, stamp="x"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    blobs = LocalFolderBlobs(tmp_path / "blobs")
    await blobs.put("x", b"overwritten")
    store = wire.PlacedStore(path="/mnt/memory/notes", memories=[memory("/way/secret", "overwritten", "x")])
    await prepare(client, "p2", stores=[store])
    assert secret.read_text() == "not yours"


@pytest.mark.parametrize(
    "parts",
    [
        {"files": [wire.PlacedFile(path="/mnt/session/uploads/../journal/x", blob_key="a")]},
        {"files": [wire.PlacedFile(path="/workspace/x", blob_key="a")]},
        {"files": [wire.PlacedFile(path="/mnt/session/uploads/", blob_key="a")]},
        {"skills": [wire.PlacedSkill(name="../x", blob_key="a")]},
        {"stores": [wire.PlacedStore(path="/mnt/memory/a/b")]},
        {"stores": [wire.PlacedStore(path="/mnt/memory/a", memories=[wire.PlacedMemory(path="/../x")])]},
        {"stores": [wire.PlacedStore(path=f"/mnt/memory/{n}") for n in range(9)]},
        {"files": [wire.PlacedFile(path=f"/mnt/session/uploads/{n}", blob_key="a") for n in range(501)]},
    ],
)
async def test_malformed_placements_are_refused(start_hands: Start, parts: dict[str, Any]) -> None:
    hands = await start_hands(backend="process")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await prepare(hands.client, "p1", **parts)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_more_bytes_than_a_session_may_have_are_not_placed(start_hands: Start) -> None:
    hands = await start_hands(backend="process", placed_bytes_max=10)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await prepare(hands.client, "p1", files=[file("a", "k", 11)])
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than 10 bytes" in str(refused.value.details())
