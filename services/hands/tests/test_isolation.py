"""What code in a bubblewrap sandbox cannot see, reach or do."""

import contextlib
import os
import socket
from pathlib import Path

import pytest
from pydantic import JsonValue

from services.hands.tests.hands_client import Running, Start

SECRET = "a-secret-of-the-host"


@pytest.fixture
async def sandboxed(start_hands: Start, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("EFFERENT_TEST_SECRET", SECRET)
    return await start_hands()


async def test_two_sessions_share_nothing(sandboxed: Running) -> None:
    one, two = "sesn_one", "sesn_two"
    await sandboxed.client.bash(
        "echo mine > file; echo mine > /tmp/file; echo mine > /dev/shm/file; sleep 60 &", session=one
    )
    seen = await sandboxed.client.bash(
        "ls -A /workspace /tmp /dev/shm /mnt/session/outputs; cat /proc/[0-9]*/comm", session=two
    )
    assert "file" not in seen.ok()
    assert "sleep" not in seen.text


async def test_files_of_the_host_are_not_there(sandboxed: Running) -> None:
    hidden = sandboxed.folder / "secret"
    hidden.write_text(SECRET)
    hidden.chmod(0o644)
    for path in (
        hidden,
        sandboxed.folder,
        Path("/root"),
        Path("/etc/shadow"),
        Path("/sys"),
        Path("/work"),
        Path.home(),
    ):
        assert "No such file" in (await sandboxed.client.bash(f"cat {path}/* {path}; ls {path}")).error(), path
    listed = await sandboxed.client.bash("ls /; ls /home /mnt /run")
    assert set(listed.ok().split()) >= {"workspace", "usr", "agent"}
    assert not {"root", "work", "boot", "sys", "opt", "srv"} & set(listed.text.split())


async def test_environment_is_clean(sandboxed: Running) -> None:
    seen = await sandboxed.client.bash("env; cat /proc/*/environ | tr '\\0' '\\n'")
    assert SECRET not in seen.text
    names = {line.partition("=")[0] for line in seen.text.splitlines() if "=" in line}
    assert names <= {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "PAGER", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_",
    }  # fmt: skip


async def test_processes_of_the_host_are_invisible(sandboxed: Running) -> None:
    seen = await sandboxed.client.bash("cat /proc/[0-9]*/comm | sort -u")
    assert set(seen.ok().split()) <= {"bash", "bwrap", "cat", "sort"}


async def test_there_is_no_network(sandboxed: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "refused" in (await sandboxed.client.bash(f"echo > /dev/tcp/127.0.0.1/{port}")).error()
    assert "unreachable" in (await sandboxed.client.bash("echo > /dev/tcp/192.0.2.1/80")).error()
    assert (await sandboxed.client.bash("grep -v -e lo: -e Inter -e face /proc/net/dev; echo none")).ok() == "none"


async def test_nothing_of_the_system_can_be_written(sandboxed: Running) -> None:
    for path in (
        "/x",
        "/usr/x",
        "/etc/x",
        "/etc/passwd",
        "/dev/x",
        "/run/x",
        "/run/efferent/x",
        "/mnt/session/uploads/x",
    ):
        assert "Read-only" in (await sandboxed.client.bash(f"echo > {path}")).error(), path
    assert (
        await sandboxed.client.bash("for i in . ~ /tmp /mnt/session/outputs; do echo > $i/x || exit 1; done; echo ok")
    ).ok() == "ok"


async def test_rights_are_gone_for_good(sandboxed: Running) -> None:
    status = (await sandboxed.client.bash("id -u; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status")).ok()
    values = dict(line.split(":\t") for line in status.splitlines()[1:])
    assert status.startswith("1000\n")
    assert all(int(value, 16) == 0 for name, value in values.items() if name.startswith("Cap"))
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")


async def test_started_as_root_it_is_an_unprivileged_user_outside(sandboxed: Running) -> None:
    await sandboxed.client.bash("sleep 61 & until grep -q ^sleep /proc/$!/cmdline; do :; done; echo > file")
    owner = (sandboxed.session_folder() / "workspace" / "file").stat().st_uid
    assert owner >= 1_900_000_000 if os.geteuid() == 0 else owner == os.geteuid()
    assert owner in _owners(b"sleep\x0061\x00")


def _owners(command_line: bytes) -> set[int]:
    """The uids that run this command."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes() == command_line:
                found.add(entry.stat().st_uid)
    return found


@pytest.mark.parametrize(
    "command",
    [
        "unshare --user true",
        "unshare --mount true",
        "mount -t tmpfs x /tmp",
        "chroot / true",
        "nsenter --target 1 --mount true",
        "dmesg",
        "python3 -c 'import ctypes as c; l=c.CDLL(None,use_errno=True); exit(l.ptrace(0,0,0,0) == -1)'",
        "python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'",
        "python3 -c 'import socket; socket.socket(38, socket.SOCK_SEQPACKET)'",
        "kill -9 1; test ! -e /proc/1/root/usr",
    ],
)
async def test_forbidden_calls_are_refused(sandboxed: Running, command: str) -> None:
    assert (await sandboxed.client.bash(command)).is_error


LINKS = {
    "to_file": "/etc/shadow",
    "to_root": "/proc/1/root/etc/shadow",
    "upwards": "../../../../../../../../etc/shadow",
}


@pytest.mark.parametrize("target", LINKS.values(), ids=LINKS.keys())
async def test_symbolic_links_do_not_lead_out_of_the_sandbox(sandboxed: Running, tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    outside.chmod(0o777)
    client = sandboxed.client
    await client.bash(f"ln -s {target} file; ln -s {outside} folder; ln -s {outside}/secret secret")
    attempts: list[tuple[str, dict[str, JsonValue]]] = [
        ("read", {"file_path": "file"}),
        ("read", {"file_path": "secret"}),
        ("read", {"file_path": f"{outside}/secret"}),
        ("read", {"file_path": f"../../../../..{outside}/secret"}),
        ("write", {"file_path": "secret", "content": "x"}),
        ("write", {"file_path": "folder/new", "content": "x"}),
        ("edit", {"file_path": "secret", "old_string": "a", "new_string": "b"}),
        ("glob", {"pattern": "*", "path": "folder"}),
        ("glob", {"pattern": "*", "path": str(outside)}),
        ("grep", {"pattern": ".", "path": "folder"}),
        ("grep", {"pattern": ".", "path": "secret"}),
    ]
    for tool, arguments in attempts:
        outcome = await client.execute(tool, arguments)
        assert outcome.is_error, (tool, arguments, outcome.text)
        assert SECRET not in outcome.text
    assert (await client.execute("grep", {"pattern": "secret-of"})).ok() == "No matches found"
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == SECRET


async def test_spilled_output_does_not_follow_a_link_to_the_host(sandboxed: Running, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text(SECRET)
    victim.chmod(0o666)
    await sandboxed.client.bash(f"ln -s {victim} /mnt/session/tool-output/sevt_spill.txt")
    await sandboxed.client.execute("bash", {"command": "seq 1 40000"}, call="sevt_spill")
    assert victim.read_text() == SECRET


async def test_release_does_not_follow_links_to_the_host(sandboxed: Running, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text(SECRET)
    await sandboxed.client.bash(f"ln -s {victim} link; mkdir d; chmod 000 d; ln -s {victim}/file d2")
    await sandboxed.client.release()
    assert (victim / "file").read_text() == SECRET


async def test_deeply_nested_folders_are_deleted_with_the_session(sandboxed: Running) -> None:
    await sandboxed.client.bash(
        "p=$(printf 'd/%.0s' {1..100}); for i in $(seq 15); do mkdir -p $p && cd -P $p; done; echo x > bottom"
    )
    await sandboxed.client.release()
    assert list((sandboxed.folder / "hands" / "sessions").iterdir()) == []


async def test_killing_everything_inside_is_answered_and_repaired(sandboxed: Running) -> None:
    await sandboxed.client.bash("echo kept > file")
    outcome = await sandboxed.client.bash("kill -9 -1; sleep 5")
    assert outcome.is_error
    assert (await sandboxed.client.bash("cat file")).ok().endswith("kept")
