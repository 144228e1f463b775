"""Memories over HTTP: paths, contents, conflicts, preconditions and lists."""

import asyncio
import hashlib
import re
from typing import Any

import anthropic
import pytest

from efferent.common.domain.control import memory as rules
from services.gateway.tests.gateway_rig import Answer, Served
from services.gateway.tests.test_memory_stores import a_store

MAX = 102_400


async def write(served: Served, store_id: str, path: str, content: str = "x") -> Answer:
    return await served.call("POST", f"/v1/memory_stores/{store_id}/memories", {"path": path, "content": content})


async def written(served: Served, store_id: str, path: str, content: str = "x") -> dict[str, Any]:
    made = await write(served, store_id, path, content)
    assert made.status == 200, made.body
    assert isinstance(made.body, dict)
    return made.body


async def listed(served: Served, store_id: str, query: str = "") -> list[str]:
    """The paths of all pages."""
    found, page = list[str](), ""
    while True:
        answer = (await served.call("GET", f"/v1/memory_stores/{store_id}/memories?{query}{page}")).body
        found += [item["path"] for item in answer["data"]]
        if answer["next_page"] is None:
            return found
        page = f"&page={answer['next_page']}"


async def test_a_memory_lives_from_create_to_delete(served: Served) -> None:
    memories, store_id = served.sdk().beta.memory_stores.memories, await a_store(served)
    made = await memories.create(store_id, path="/projects/foo.md", content="grüß")
    digest = hashlib.sha256("grüß".encode()).hexdigest()
    assert re.fullmatch("mem_[a-z0-9]+", made.id)
    assert re.fullmatch("memver_[a-z0-9]+", made.memory_version_id)
    assert (made.path, made.content, made.content_sha256, made.content_size_bytes) == (
        "/projects/foo.md", None, digest, 6,
    )  # fmt: skip
    read = await memories.retrieve(made.id, memory_store_id=store_id)
    assert read == made.model_copy(update={"content": "grüß"})
    assert (await memories.retrieve(made.id, memory_store_id=store_id, view="basic")) == made
    moved = await memories.update(made.id, memory_store_id=store_id, path="/done/foo.md", view="full")
    assert (moved.id, moved.path, moved.content, moved.content_sha256) == (made.id, "/done/foo.md", "grüß", digest)
    assert moved.memory_version_id != made.memory_version_id
    changed = await memories.update(made.id, memory_store_id=store_id, content="")
    assert (changed.content_size_bytes, changed.content_sha256) == (0, hashlib.sha256(b"").hexdigest())
    assert (await memories.retrieve(made.id, memory_store_id=store_id)).content == ""
    gone = await memories.delete(made.id, memory_store_id=store_id)
    assert (gone.id, gone.type) == (made.id, "memory_deleted")
    with pytest.raises(anthropic.NotFoundError, match="Memory not found"):
        await memories.retrieve(made.id, memory_store_id=store_id)


async def test_a_view_decides_whether_the_content_is_shown(served: Served) -> None:
    path = f"/v1/memory_stores/{await a_store(served)}/memories"
    full = await served.call("POST", f"{path}?view=full", {"path": "/a", "content": "x"})
    assert full.body["content"] == "x"
    assert [item["content"] for item in (await served.call("GET", path)).body["data"]] == [None]
    assert [item["content"] for item in (await served.call("GET", f"{path}?view=full")).body["data"]] == ["x"]
    refused = await served.call("GET", f"{path}?view=all")
    assert refused.error[2] == 'view: "all" is not a valid value; expected one of basic, full'


async def test_an_occupied_path_is_a_conflict_that_names_who_has_it(served: Served) -> None:
    store_id = await a_store(served)
    first, second = await written(served, store_id, "/a"), await written(served, store_id, "/b")
    for answer in (
        await write(served, store_id, "/a", "other"),
        await served.call("POST", f"/v1/memory_stores/{store_id}/memories/{second['id']}", {"path": "/a"}),
    ):
        assert answer.error[:2] == (409, "memory_path_conflict_error")
        assert answer.body["error"]["details"] == {"conflicting_memory_id": first["id"]}
        assert first["id"] in answer.error[2]
    await written(served, await a_store(served), "/a")  # another store has paths of its own
    await served.call("DELETE", f"/v1/memory_stores/{store_id}/memories/{first['id']}")
    assert (await written(served, store_id, "/a"))["id"] != first["id"]
    assert (await write(served, store_id, "/A")).status == 200


async def test_of_many_that_want_one_path_one_gets_it(served: Served) -> None:
    store_id = await a_store(served)
    answers = await asyncio.gather(*(write(served, store_id, "/a", str(number)) for number in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_preconditions_hold_for_what_is_stored(served: Served) -> None:
    store_id = await a_store(served)
    made = await written(served, store_id, "/a", "one")
    path = f"/v1/memory_stores/{store_id}/memories/{made['id']}"

    def expecting(digest: str, **change: str) -> dict[str, Any]:
        return {**change, "precondition": {"type": "content_sha256", "content_sha256": digest}}

    stale = hashlib.sha256(b"other").hexdigest()
    refused = await served.call("POST", path, expecting(stale, content="two"))
    assert refused.error[:2] == (409, "memory_precondition_failed_error")
    assert (await served.call("POST", path, expecting(stale, content="one"))).body == made  # it is so already
    changed = await served.call("POST", path, expecting(made["content_sha256"], content="two", path="/b"))
    assert (changed.status, changed.body["path"]) == (200, "/b")
    refused = await served.call("DELETE", f"{path}?expected_content_sha256={made['content_sha256']}")
    assert refused.error[:2] == (409, "memory_precondition_failed_error")
    for odd in ("", "ABC"):
        refused = await served.call("DELETE", f"{path}?expected_content_sha256={odd}")
        assert refused.error[:2] == (400, "invalid_request_error")
        assert refused.error[2] == "expected_content_sha256: must be 64 lowercase hexadecimal characters"
    assert (
        await served.call("DELETE", f"{path}?expected_content_sha256={changed.body['content_sha256']}")
    ).status == 200


async def test_an_update_that_changes_nothing_makes_no_version(served: Served) -> None:
    store_id = await a_store(served)
    made = await written(served, store_id, "/a", "one")
    for body in ({}, {"content": "one"}, {"path": "/a"}, {"content": None, "path": None}):
        assert (await served.call("POST", f"/v1/memory_stores/{store_id}/memories/{made['id']}", body)).body == made
    versions = (await served.call("GET", f"/v1/memory_stores/{store_id}/memory_versions")).body["data"]
    assert [version["id"] for version in versions] == [made["memory_version_id"]]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a", "path: must start with /"),
        ("", "path: must start with /"),
        ("/", 'path: no segment may be empty, "." or ".."'),
        ("/a//b", 'path: no segment may be empty, "." or ".."'),
        ("/a/", 'path: no segment may be empty, "." or ".."'),
        ("/a/../b", 'path: no segment may be empty, "." or ".."'),
        ("/./b", 'path: no segment may be empty, "." or ".."'),
        ("/s" * 21, "path: must have at most 20 segments"),
        ("/" + "ä" * 512, "path: must be at most 1024 bytes long"),
        ("/u\u0308", "path: must be in Unicode Normalization Form C"),
        ("/a\nb", "path: must not contain control or format characters or line separators"),
        ("/a\u200eb", "path: must not contain control or format characters or line separators"),
        ("/a\u2028b", "path: must not contain control or format characters or line separators"),
    ],
)
async def test_what_is_no_path_is_refused(served: Served, path: str, message: str) -> None:
    store_id = await a_store(served)
    assert (await write(served, store_id, path)).error == (400, "invalid_request_error", message)
    made = await written(served, store_id, "/ok")
    renamed = await served.call("POST", f"/v1/memory_stores/{store_id}/memories/{made['id']}", {"path": path})
    assert renamed.error == (400, "invalid_request_error", message)


async def test_paths_and_contents_at_their_limits_are_taken(served: Served) -> None:
    store_id = await a_store(served)
    for path in ("/s" * 20, "/" + "ä" * 511, "/.hidden/...", "/with space/ü"):
        await written(served, store_id, path)
    await written(served, store_id, "/long", "é" * (MAX // 2))
    refused = await write(served, store_id, "/longer", "é" * (MAX // 2) + "x")
    assert refused.error == (400, "invalid_request_error", "content: must be at most 102400 bytes long")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"path": "/a"}, "Failed to parse request: content: field is required"),
        ({"path": "/a", "content": None}, "Failed to parse request: content: must be a string"),
        ({"content": "x"}, "Failed to parse request: path: field is required"),
    ],
)
async def test_path_and_content_are_required(served: Served, body: Any, message: str) -> None:
    refused = await served.call("POST", f"/v1/memory_stores/{await a_store(served)}/memories", body)
    assert refused.error == (400, "invalid_request_error", message)


async def test_a_full_store_takes_no_new_memory_and_still_changes_the_others(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MEMORIES_MAX", 3)
    store_id = await a_store(served)
    made = [await written(served, store_id, f"/{number}") for number in range(3)]
    refused = await write(served, store_id, "/3")
    assert refused.error == (400, "invalid_request_error", "A memory store can have at most 3 memories.")
    path = f"/v1/memory_stores/{store_id}/memories/{made[0]['id']}"
    assert (await served.call("POST", path, {"content": "new"})).status == 200
    assert (await served.call("DELETE", path)).status == 200
    await written(served, store_id, "/3")


async def test_lists_are_in_path_order_and_roll_up_what_lies_deeper(served: Served) -> None:
    store_id = await a_store(served)
    paths = ["/b/x", "/a", "/a/deep/one", "/a/deep/two", "/a-b", "/a/one", "/c/y/z"]
    for path in paths:
        await written(served, store_id, path)
    assert await listed(served, store_id) == sorted(paths)
    assert await listed(served, store_id, "limit=2") == sorted(paths)
    assert await listed(served, store_id, "depth=1") == ["/a", "/a-b", "/a/", "/b/", "/c/"]
    assert await listed(served, store_id, "depth=1&limit=1") == ["/a", "/a-b", "/a/", "/b/", "/c/"]
    assert await listed(served, store_id, "depth=1&path_prefix=/a/") == ["/a/deep/", "/a/one"]
    assert await listed(served, store_id, "depth=0&path_prefix=/a/") == ["/a/deep/one", "/a/deep/two", "/a/one"]
    assert await listed(served, store_id, "path_prefix=/none/") == []
    shallow = await served.call("GET", f"/v1/memory_stores/{store_id}/memories?depth=1&view=full")
    assert shallow.body["data"][2] == {"type": "memory_prefix", "path": "/a/"}
    sdk = served.sdk().beta.memory_stores.memories
    types = [item.type async for item in sdk.list(store_id, depth=1)]
    assert types == ["memory", "memory", "memory_prefix", "memory_prefix", "memory_prefix"]


async def test_a_page_with_contents_has_at_most_twenty(served: Served) -> None:
    store_id = await a_store(served)
    await asyncio.gather(*(written(served, store_id, f"/{number:02d}") for number in range(22)))
    path = f"/v1/memory_stores/{store_id}/memories?view=full&limit=100"
    first = (await served.call("GET", path)).body
    assert (len(first["data"]), first["data"][0]["content"]) == (20, "x")
    rest = (await served.call("GET", f"{path}&page={first['next_page']}")).body
    assert [item["path"] for item in rest["data"]] == ["/20", "/21"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("path_prefix=/a", "path_prefix: must end with /"),
        ("path_prefix=a/", "path_prefix: must start with /"),
        ("depth=2", "depth: must be between 0 and 1"),
        ("depth=-1", "depth: must be between 0 and 1"),
        ("limit=101", "limit: must be between 1 and 100"),
        ("page=page_nonsense", "invalid page cursor"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(served: Served, query: str, message: str) -> None:
    answer = await served.call("GET", f"/v1/memory_stores/{await a_store(served)}/memories?{query}")
    assert answer.error == (400, "invalid_request_error", message)


async def test_a_cursor_is_for_one_folder_and_one_depth(served: Served) -> None:
    store_id = await a_store(served)
    for path in ("/" + "ä" * 510 + "a", "/" + "ä" * 510 + "b", "/z/a", "/z/b"):
        await written(served, store_id, path)
    where = f"/v1/memory_stores/{store_id}/memories?limit=1"
    page = (await served.call("GET", where)).body["next_page"]
    assert (await served.call("GET", f"{where}&page={page}")).status == 200
    for other in ("&depth=1", "&path_prefix=/z/"):
        assert (await served.call("GET", f"{where}{other}&page={page}")).error[2] == "invalid page cursor"


async def test_renaming_while_the_content_changes_keeps_both(served: Served) -> None:
    store_id = await a_store(served)
    made = await written(served, store_id, "/a", "0")
    path = f"/v1/memory_stores/{store_id}/memories/{made['id']}"
    changes = [{"content": f"c{number}"} for number in range(4)] + [{"path": f"/p{number}"} for number in range(4)]
    answers = await asyncio.gather(*(served.call("POST", path, change) for change in changes))
    assert {answer.status for answer in answers} == {200}
    final = (await served.call("GET", path)).body
    assert final["path"].startswith("/p")
    assert final["content"].startswith("c")
    assert final["content_sha256"] == hashlib.sha256(final["content"].encode()).hexdigest()
