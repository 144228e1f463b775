"""Finding cgroup controllers in both versions, on trees like those that the kernel shows."""

import signal
import subprocess
from pathlib import Path

from efferent.hands.adapters.control_groups import find, sweep


def mount_line(point: Path, root: str, kind: str, options: str) -> str:
    return f"31 23 0:28 {root} {point} rw,relatime shared:9 - {kind} {kind} rw,{options}\n"


def test_machine_without_usable_controllers_gives_none(tmp_path: Path) -> None:
    found = find("0::/user\n", mount_line(tmp_path / "missing", "/", "cgroup2", "nsdelegate"))
    assert (found.memory, found.processes) == (None, None)
    assert found.groups(1, 2).groups == ()
    assert found.groups(1, 2).memory_kills() == 0


def test_group_without_delegated_controllers_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "cgroup.subtree_control").write_text("")
    found = find("0::/user\n", mount_line(tmp_path, "/", "cgroup2", "nsdelegate"))
    assert found.memory is None
    assert list((tmp_path / "user").glob("efferent-*")) == []


def test_groups_left_behind_by_the_dead_are_swept(tmp_path: Path) -> None:
    for pid in (2**22 + 5, 1):
        (tmp_path / f"efferent-{pid}-0").mkdir()
    found = find("", "")
    found.memory = tmp_path
    sweep(found)
    assert [entry.name for entry in tmp_path.iterdir()] == ["efferent-1-0"]


def test_processes_left_behind_by_the_dead_are_killed(tmp_path: Path) -> None:
    group = tmp_path / f"efferent-{2**22 + 5}-0"
    group.mkdir()
    found = find("", "")
    found.memory = tmp_path
    with subprocess.Popen(["sleep", "60"]) as orphan:
        (group / "cgroup.procs").write_text(f"{orphan.pid}\n")
        sweep(found)
        assert orphan.wait(10) == -signal.SIGKILL


def test_kills_for_memory_are_counted_in_both_versions(tmp_path: Path) -> None:
    found = find("", "")
    found.memory = tmp_path
    groups = found.groups(100, 10)
    assert groups.memory is not None
    assert [value for group in groups.groups for _, value in group.values] == ["100", "26"]
    groups.memory.mkdir()
    (groups.memory / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert groups.memory_kills() == 2
    (groups.memory / "memory.oom_control").write_text("under_oom 0\noom_kill 5\n")
    assert groups.memory_kills() == 5
