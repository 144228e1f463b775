"""Other versions of packages for tests: environments of their own and source archives, kept in ``.cache``.

Test processes share the cache; a lock lets one of them fill it while the others wait.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parents[2] / ".cache" / "tests"
FILL_WAIT_S: Final = 180.0
TRIES_MAX: Final = 3


def environment_with(requirement: str) -> Path:
    """The Python of a virtual environment that holds exactly this requirement, such as ``anthropic==0.103.0``."""
    home = CACHE / f"environment-{requirement.replace('==', '-')}-{sys.version_info.major}.{sys.version_info.minor}"
    python = home / "bin" / "python"
    with filling(home) as draft:
        if draft is not None:
            run(_uv(), "venv", "--quiet", "--relocatable", "--python", sys.executable, str(draft))
            run(_uv(), "pip", "install", "--quiet", "--python", str(draft / "bin" / "python"), requirement)
    return python


def source_of(name: str, version: str) -> Path:
    """The source archive of a package's release."""
    home = CACHE / f"source-{name}-{version}"
    with filling(home) as draft:
        if draft is not None:
            draft.mkdir()
            python = _seeded()
            run(str(python), "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps",
                "--dest", str(draft), f"{name}=={version}")  # fmt: skip
    (archive,) = home.glob("*.tar.gz")
    return archive


def _seeded() -> Path:
    """A Python with pip."""
    home = CACHE / f"pip-{sys.version_info.major}.{sys.version_info.minor}"
    with filling(home) as draft:
        if draft is not None:
            run(_uv(), "venv", "--quiet", "--relocatable", "--seed", "--python", sys.executable, str(draft))
    return home / "bin" / "python"


@contextlib.contextmanager
def filling(home: Path) -> Iterator[Path | None]:
    """The folder to fill, which becomes ``home`` when the block ends well; None when it is there already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if home.exists():
            yield None
            return
        draft = home.with_name(f"{home.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        yield draft
        draft.rename(home)


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    assert found is not None, "no uv beside this Python and none on PATH"
    return found


def run(*command: str, **more: str) -> None:
    """Run a command that may fail for reasons of the network, a few times if need be; ``more`` are variables."""
    environ = {**os.environ, "UV_SYSTEM_CERTS": os.environ.get("UV_SYSTEM_CERTS", "1"), **more}
    for attempt in range(1, TRIES_MAX + 1):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=FILL_WAIT_S, check=False)
        if done.returncode == 0:
            return
        if attempt == TRIES_MAX:
            raise AssertionError(f"{' '.join(command)} failed: {done.stderr}")
