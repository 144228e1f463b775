"""Which processes a server consists of, and what each may know."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from efferent.cli.children import children, socket_folder
from efferent.cli.data_folder import DataFolder
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import read_settings

OPERATOR = {
    "PATH": "/usr/bin",
    "EFFERENT_API_KEY": "the-key",
    "ANTHROPIC_API_KEY": "the-providers-key",
    "AWS_SECRET_ACCESS_KEY": "another-secret",
    "EFFERENT_HANDS_IDLE_S": "60",
}


@pytest.fixture
def short_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder whose own name is short, wherever the tests run."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_children_stop_from_the_edge_to_the_log(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    specs = children(read_settings({"EFFERENT_DATA_DIR": str(tmp_path)}), folder, "the-key", OPERATOR)
    assert [spec.name for spec in specs] == ["gateway", "automation", "brain", "hands", "nats"]
    assert sum(spec.drain_budget_s for spec in specs) < 9.0
    folder.close()


def test_a_log_elsewhere_has_no_child(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    environ = {"EFFERENT_DATA_DIR": str(tmp_path), "NATS_URL": "nats://log.example:4222"}
    specs = children(read_settings(environ), folder, "the-key", OPERATOR | environ)
    assert [spec.name for spec in specs] == ["gateway", "automation", "brain", "hands"]
    assert specs[0].environ["NATS_URL"] == "nats://log.example:4222"
    assert "NATS_URL" not in specs[3].environ
    folder.close()


def test_the_hands_and_nats_know_no_secret(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    settings = read_settings({"EFFERENT_DATA_DIR": str(tmp_path)})
    gateway, automation, brain, hands, nats = children(settings, folder, "the-key", OPERATOR)
    assert gateway.environ["EFFERENT_API_KEY"] == "the-key"
    assert "EFFERENT_API_KEY" not in brain.environ
    assert brain.environ["ANTHROPIC_API_KEY"] == "the-providers-key"
    assert hands.environ["EFFERENT_HANDS_IDLE_S"] == "60"
    assert automation.environ["EFFERENT_NATS_TOKEN"] == brain.environ["EFFERENT_NATS_TOKEN"]
    assert not set(automation.environ.values()) & {"the-key", "the-providers-key", "another-secret"}
    for spec in (hands, nats):
        values = set(spec.environ.values())
        assert not values & {"the-key", "the-providers-key", "another-secret", brain.environ["EFFERENT_NATS_TOKEN"]}
    folder.close()


def test_sockets_are_in_the_data_folder_when_the_path_is_short(short_path: Path) -> None:
    assert socket_folder(short_path) == short_path / "run"


def test_sockets_are_in_a_private_temporary_folder_when_the_path_is_long(short_path: Path, tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    folder = socket_folder(data)
    assert folder.parent == short_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_folder(data) == folder
    assert socket_folder(tmp_path / ("other" * 30)) != folder


def test_a_socket_folder_that_others_can_read_is_refused(short_path: Path, tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    socket_folder(data).chmod(0o755)
    with pytest.raises(CommandError, match="open to others"):
        socket_folder(data)
