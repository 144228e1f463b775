"""The file tools, the same with both backends."""

import base64

import pytest
from pydantic import JsonValue

from services.hands.tests.hands_client import Client, Outcome, Start

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


async def put(client: Client, path: str, content: str = "") -> None:
    (await client.execute("write", {"file_path": path, "content": content})).ok()


async def read(client: Client, path: str, *lines: int) -> Outcome:
    return await client.execute("read", {"file_path": path, **({"view_range": list(lines)} if lines else {})})


async def test_write_makes_folders_and_overwrites(client: Client) -> None:
    await put(client, "a/b/c.txt", "long first version")
    assert (
        (await client.execute("write", {"file_path": "/workspace/a/b/c.txt", "content": "é"}))
        .ok()
        .startswith("Wrote 2 bytes")
    )
    assert (await client.bash("cat a/b/c.txt")).ok() == "é"


async def test_read_gives_text_and_parts_of_it(client: Client) -> None:
    await put(client, "t", "one\ntwo\nthree\nfour\n")
    assert (await read(client, "t")).ok() == "one\ntwo\nthree\nfour\n"
    assert (await read(client, "t", 2, 3)).ok() == "two\nthree"
    assert (await read(client, "t", 3, -1)).ok() == "three\nfour"
    assert (await read(client, "t", 4, 0)).ok() == "four"
    assert "no line 9" in (await read(client, "t", 9, 10)).error()
    assert "view_range" in (await read(client, "t", 3, 2)).error()


async def test_read_shows_images_and_pdf_files_as_blocks(client: Client) -> None:
    await put(client, "b64", base64.b64encode(PNG).decode())
    await client.bash("base64 -d b64 > i.dat; printf '%%PDF-1.4 x' > d.dat; printf 'a\\0b' > bin")
    [image] = (await read(client, "i.dat")).blocks
    assert image["type"] == "image"
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    [document] = (await read(client, "d.dat")).blocks
    assert (document["type"], document["source"]["media_type"]) == ("document", "application/pdf")
    assert "binary" in (await read(client, "bin")).error()
    assert "view_range works on text" in (await read(client, "i.dat", 1, 2)).error()


async def test_read_limits_hold(client: Client) -> None:
    await client.bash(
        "head -c 262145 /dev/zero | tr '\\0' '\\n' > lines; head -c 262145 /dev/zero | tr '\\0' x > oneline;"
        "cp oneline big.png; printf '\\x89PNG\\r\\n\\x1a\\n' | dd of=big.png conv=notrunc status=none;"
        "truncate -s 4M big.png;"
        "printf '%%PDF-' > big.pdf; truncate -s 21M big.pdf"
    )
    assert "view_range" in (await read(client, "lines")).error()
    assert "ask for fewer" in (await read(client, "oneline", 1, 1)).error()
    assert "at most 3932160" in (await read(client, "big.png")).error()
    assert "at most 20971520" in (await read(client, "big.pdf")).error()


async def test_long_text_is_read_in_part(client: Client) -> None:
    await client.bash("head -c 200000 /dev/zero | tr '\\0' y > long")
    outcome = await read(client, "long")
    assert len(outcome.ok()) < 21_000
    assert "in long ...]" in outcome.text


@pytest.mark.parametrize("tool", ["read", "edit"])
async def test_what_is_not_a_regular_file_never_blocks(client: Client, tool: str) -> None:
    await client.bash("mkfifo pipe; mkdir folder; ln -s loop loop")
    more: dict[str, JsonValue] = {"old_string": "a", "new_string": "b"} if tool == "edit" else {}
    reasons = {"pipe": "not a regular file", "folder": "directory", "loop": "symbolic links", "none": "no such file"}
    for path, reason in reasons.items():
        assert reason in (await client.execute(tool, {"file_path": path, **more})).error()
    assert "not a regular file" in (await client.execute(tool, {"file_path": "/dev/zero", **more})).error()


async def test_edit_replaces_exactly_what_was_meant(client: Client) -> None:
    await put(client, "e", "a b a\r\n")
    change: dict[str, JsonValue] = {"file_path": "e", "old_string": "a", "new_string": "xx"}
    assert "occurs 2 times" in (await client.execute("edit", change)).error()
    (await client.execute("edit", {**change, "old_string": "b", "new_string": ""})).ok()
    (await client.execute("edit", {**change, "replace_all": True})).ok()
    assert (await read(client, "e")).ok() == "xx  xx\r\n"
    assert "does not occur" in (await client.execute("edit", {**change, "old_string": "zzz"})).error()
    assert "is empty" in (await client.execute("edit", {**change, "old_string": ""})).error()
    assert "the same" in (await client.execute("edit", {**change, "old_string": "xx"})).error()


async def test_glob_finds_files_newest_first(client: Client) -> None:
    await client.bash(
        "mkdir -p src/deep .hidden; touch -d 2020-01-01 old.md; touch -d 2021-01-01 src/deep/mid.md;"
        "touch -d 2022-01-01 .hidden/new.md; touch src/a.ts src/b.tsx src/c.js"
    )

    async def find(**given: JsonValue) -> Outcome:
        return await client.execute("glob", given)

    assert (await find(pattern="*.md")).ok() == ".hidden/new.md\nsrc/deep/mid.md\nold.md"
    assert (await find(pattern="src/**/*.md")).ok() == "src/deep/mid.md"
    assert set((await find(pattern="src/*.{ts,tsx}")).ok().split()) == {"src/a.ts", "src/b.tsx"}
    assert (await find(pattern="*.md", path="/workspace/src")).ok() == "/workspace/src/deep/mid.md"
    assert (await find(pattern="/workspace/src/deep/*.md")).ok() == "/workspace/src/deep/mid.md"
    assert (await find(pattern="*.none")).ok() == "No files found"
    assert "no such file" in (await find(pattern="*", path="nowhere")).error()
    assert "never closed" in (await find(pattern="[a")).error()
    assert "never closed" in (await find(pattern="{a")).error()
    assert "'..'" in (await find(pattern="../*")).error()


async def test_glob_gives_at_most_a_hundred(client: Client) -> None:
    await client.bash("touch f{1..150}")
    assert len((await client.execute("glob", {"pattern": "f*"})).ok().splitlines()) == 100


async def test_grep_gives_paths_of_matching_files(client: Client) -> None:
    await client.bash(
        "mkdir -p src .git; echo 'class Foo:' > src/a.py; echo 'foo 12' > src/b.txt; printf 'Foo\\0' > bin;"
        "echo Foo > .git/x; printf 'x\\nFoo' > last; chmod 000 last; chmod 644 last"
    )

    async def find(**given: JsonValue) -> Outcome:
        return await client.execute("grep", given)

    assert set((await find(pattern="Foo")).ok().split()) == {"src/a.py", "last"}
    assert (await find(pattern="^foo [0-9]+$")).ok() == "src/b.txt"
    assert (await find(pattern="foo [[:digit:]]", context=3)).ok() == "src/b.txt"
    assert (await find(pattern="(?i)foo", glob="*.py")).ok() == "src/a.py"
    assert (await find(pattern="Foo", path="/workspace/src")).ok() == "/workspace/src/a.py"
    assert (await find(pattern="Foo", path="src/a.py")).ok() == "src/a.py"
    assert len((await find(pattern="(?i)foo", head_limit=1)).ok().splitlines()) == 1
    assert (await find(pattern="nothing")).ok() == "No matches found"
    assert "regular expression" in (await find(pattern="(")).error()
    assert "no such file" in (await find(pattern="x", path="nowhere")).error()


async def test_pattern_that_never_ends_is_stopped(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, file_tool_timeout_s=0.5)
    await put(hands.client, "trap", "a" * 60 + "!")
    outcome = await hands.client.execute("grep", {"pattern": "(a+)+$"})
    assert "longer than 0.5 s" in outcome.error()


async def test_names_that_are_not_unicode_are_shown(client: Client) -> None:
    await client.bash(r"touch $'f\xff.txt'")
    assert (await client.execute("glob", {"pattern": "f*.txt"})).ok() == "f?.txt"
