"""Where resources are placed in a sandbox, and what is refused."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.attachments import FileSpec, RepositorySpec, ResourceSpec, check_kinds, places
from efferent.common.domain.ids import EnvironmentId
from efferent.common.domain.mount_paths import UPLOADS, memory_path, overlaps, repository_path, upload_path
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.environment import CloudConfig, SelfHostedConfig
from efferent.common.testing.specification import agent, toolset

GITHUB = "https://github.com/acme/tools"
ENVIRONMENT = EnvironmentId("env_1")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (None, "file_1"),
        ("probe.txt", "probe.txt"),
        ("data/probe.txt", "data/probe.txt"),
        ("/tmp/probe.txt", "tmp/probe.txt"),
        ("/uploads/x", "x"),
        ("/mnt/session/uploads/x", "x"),
        ("//a//./b/../c", "a/c"),
        ("/uploads.txt", "uploads.txt"),
        ("a/é/x" + "y" * 250, "a/é/x" + "y" * 250),
    ],
)
def test_a_file_lies_below_the_uploads_folder_however_it_is_written(given: str | None, place: str) -> None:
    assert upload_path(given, "file_1") == f"{UPLOADS}/{place}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("../probe.txt", 'Invalid file resource: mount path "../probe.txt" escapes /uploads/'),
        ("/mnt/session/uploads/../x", 'mount path "/mnt/session/uploads/../x" escapes /uploads/'),
        ("a/../..", "escapes /uploads/"),
        ("", "must not be empty"),
        ("/", "does not name a file"),
        ("a/", "does not name a file"),
        ("/mnt/session/uploads", "does not name a file"),
        ("/uploads/", "does not name a file"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a/" * 512 + "b", "at most 1024 bytes"),
        ("x" * 256, "at most 255 bytes"),
    ],
)
def test_other_places_are_refused(given: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        upload_path(given, "file_1")
    assert said in refused.value.message


@given(st.text(max_size=60))
def test_no_path_ever_leaves_the_uploads_folder(given: str) -> None:
    try:
        path = upload_path(given, "file_1")
    except InvalidRequest:
        return
    assert path.startswith(f"{UPLOADS}/")
    assert posixpath.normpath(path) == path


@pytest.mark.parametrize("second", ["dupe.txt", "/uploads/dupe.txt", "dupe.txt/nested", "./dupe.txt"])
def test_files_do_not_overlap(second: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        places([FileSpec("file_1", "dupe.txt"), FileSpec("file_2", second)])
    assert "Invalid file resource: `mount_path` overlaps another resource: /uploads/dupe.txt" in refused.value.message


def test_a_file_and_its_neighbours_live_together() -> None:
    specs: list[ResourceSpec] = [FileSpec("file_1", "a/b"), FileSpec("file_2", "a/bc"), FileSpec("file_3")]
    assert list(places(specs).values()) == [f"{UPLOADS}/a/b", f"{UPLOADS}/a/bc", f"{UPLOADS}/file_3"]


@pytest.mark.parametrize(
    ("mount_path", "place"),
    [(None, "/workspace/tools"), ("/workspace/src/x", "/workspace/src/x"), ("/workspace/a/../b", "/workspace/b")],
)
def test_a_repository_lies_in_the_workspace(mount_path: str | None, place: str) -> None:
    assert repository_path(mount_path, GITHUB, ()) == place


@pytest.mark.parametrize(
    ("url", "mount_path", "said"),
    [
        ("https://github.com/acme/tools.git", None, "`url` must be https://github.com/<owner>/<repo> without .git"),
        ("http://github.com/acme/tools", None, "`url` must be"),
        ("https://github.com/acme", None, "`url` must be"),
        ("https://github.com/acme/tools/tree/main", None, "`url` must be"),
        ("https://gitlab.com/acme/tools", None, "`url` must be"),
        ("https://token@github.com/acme/tools", None, "`url` must be"),
        ("https://github.com/acme/..", None, "`url` must be"),
        (GITHUB, "/tmp/x", "must be below /workspace/"),
        (GITHUB, "/workspace", "must be below /workspace/"),
        (GITHUB, "/workspace/../etc", "must be below /workspace/"),
        (GITHUB, "x", "must be below /workspace/"),
    ],
)
def test_repositories_that_are_refused(url: str, mount_path: str | None, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        places([RepositorySpec(url, None, mount_path)])
    assert said in refused.value.message


def test_repositories_do_not_overlap() -> None:
    with pytest.raises(InvalidRequest) as refused:
        places([RepositorySpec(GITHUB), RepositorySpec(GITHUB, mount_path="/workspace/tools/inner")])
    assert "overlaps another resource: /workspace/tools/inner" in refused.value.message


def test_memory_stores_are_named_after_themselves_and_numbered() -> None:
    taken: list[str] = []
    for name in ("My Notes!", "my--notes", "日本", "MY notes", "..."):
        taken.append(memory_path(name, taken))
    assert [path.removeprefix("/mnt/memory/") for path in taken] == [
        "my-notes",
        "my-notes-2",
        "memory",
        "my-notes-3",
        "memory-2",
    ]


@given(st.lists(st.text(max_size=20), max_size=8))
def test_no_two_memory_stores_share_a_place(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(memory_path(name, taken))
    assert not any(overlaps(one, other) for at, one in enumerate(taken) for other in taken[:at])


def test_kinds_that_a_session_cannot_have() -> None:
    reader = agent(toolset())
    with pytest.raises(InvalidRequest) as refused:
        check_kinds(["memory_store", "file"], reader, ENVIRONMENT, SelfHostedConfig())
    assert "Environment env_1 is self-hosted" in refused.value.message
    assert "`resources` are not supported" in refused.value.message
    check_kinds(["memory_store"], reader, ENVIRONMENT, SelfHostedConfig())
    with pytest.raises(InvalidRequest, match="no usable `read` tool"):
        check_kinds(["file"], agent(), ENVIRONMENT, CloudConfig())
    for kind, most in (("file", 500), ("memory_store", 8)):
        check_kinds([kind] * most, reader, ENVIRONMENT, CloudConfig())
        with pytest.raises(InvalidRequest, match=f"at most {most} {kind}"):
            check_kinds([kind] * (most + 1), reader, ENVIRONMENT, CloudConfig())
