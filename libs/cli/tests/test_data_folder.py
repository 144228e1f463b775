"""The data folder: who may use it, its format, and the secrets in it."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from efferent.cli.data_folder import FORMAT, DataFolder, read_nats_access
from efferent.cli.errors import CommandError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private_and_carries_its_format(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "some" / "data")
    assert mode_of(folder.path) == 0o700
    assert (folder.path / "format").read_text() == f"{FORMAT}\n"
    folder.close()


def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    with pytest.raises(CommandError, match=rf"in use by another 'efferent up' \(process {os.getpid()}\)"):
        DataFolder.open(tmp_path)
    folder.close()
    DataFolder.open(tmp_path).close()


def test_a_child_that_inherits_the_lock_holds_the_folder(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=(folder.lock_fd,),
    ) as child:
        folder.close()
        with pytest.raises(CommandError, match="in use"):
            DataFolder.open(tmp_path)
        child.communicate()
    DataFolder.open(tmp_path).close()


def test_a_folder_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "format").write_text(f"{FORMAT + 1}\n")
    with pytest.raises(CommandError, match=f"has format {FORMAT + 1}, which a newer release wrote"):
        DataFolder.open(tmp_path)


def test_a_folder_with_a_broken_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("one")
    with pytest.raises(CommandError, match="does not hold the number of a format"):
        DataFolder.open(tmp_path)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(CommandError, match="cannot be used"):
        DataFolder.open(tmp_path / "data")


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    key = folder.api_key()
    assert key.startswith("sk-ant-efferent-")
    assert mode_of(tmp_path / "api_key") == 0o600
    assert folder.api_key() == key
    folder.close()


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    (tmp_path / "api_key").write_text("\n")
    with pytest.raises(CommandError, match="is empty"):
        folder.api_key()
    folder.close()


def test_port_and_token_of_nats_stay_the_same(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    access = folder.nats_access()
    assert folder.nats_access() == access == read_nats_access(tmp_path)
    assert mode_of(tmp_path / "run" / "nats.json") == 0o600
    folder.close()


def test_a_port_that_somebody_took_is_replaced_and_the_token_kept(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    access = folder.nats_access()
    with socket.create_server(("127.0.0.1", access.port)):
        moved = folder.nats_access()
    assert moved.port != access.port
    assert moved.token == access.token
    folder.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": "x", "token": "t"}', '{"port": 1}'])
def test_a_broken_address_of_nats_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "nats.json").write_text(text)
    assert read_nats_access(tmp_path) is None
