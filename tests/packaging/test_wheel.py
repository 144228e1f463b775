"""One wheel, installed alone in an empty environment, is a whole server."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.efferent_server import EfferentServer

ROOT: Final = Path(__file__).resolve().parents[2]
WITHIN_S: Final = 300
UV: Final = (sys.executable, "-m", "uv")


def run(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_root_and_marks_it_as_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for portion in ("common", "cli", "gateway", "brain", "hands", "automation"):
        assert f"efferent/{portion}/py.typed" in names
    assert "efferent/__init__.py" not in names
    assert not [name for name in names if "/tests/" in name]


@pytest.mark.timeout(WITHIN_S)
def test_the_wheel_alone_in_an_empty_environment_starts_a_server(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run(*UV, "venv", "--quiet", "--python", sys.executable, str(environment))
    python = str(environment / "bin" / "python")
    run(*UV, "pip", "install", "--quiet", "--python", python, "--constraint", "requirements.lock", str(wheel))
    server = EfferentServer(
        data_dir=tmp_path / "data",
        command=(str(environment / "bin" / "efferent"), "up"),
        environ={"PYTHONPATH": "", "PATH": os.environ["PATH"]},
    )
    server.start()
    try:
        for pid in server.pids().values():
            assert str(environment) in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        assert server.stop() == 0
