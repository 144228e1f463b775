"""Other versions of packages for tests: environments of their own and source archives, kept in ``.cache``.

Test processes share the cache; a lock lets one of them fill it while the others wait.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parents[2] / ".cache" / "tests"
LOCK: Final = Path(__file__).parents[2] / "requirements-dev.lock"
FILL_WAIT_S: Final = 180.0
TRIES_MAX: Final = 3


def environment_with(lock: Path) -> Path:
    """The Python of a virtual environment that holds exactly what this lock file names."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    home = CACHE / f"environment-{lock.parent.name}-{digest}-{sys.version_info.major}.{sys.version_info.minor}"
    python = home / "bin" / "python"
    with filling(home) as draft:
        if draft is not None:
            made = str(draft / "bin" / "python")
            run(_uv(), "venv", "--quiet", "--relocatable", "--python", sys.executable, str(draft))
            run(_uv(), "pip", "sync", "--quiet", "--require-hashes", "--python", made, str(lock))
    return python


def source_of(name: str) -> Path:
    """The source archive of the release that the developers' lock file names."""
    pin = _pin(name)
    home = CACHE / f"source-{name}-{hashlib.sha256(pin.encode()).hexdigest()[:12]}"
    with filling(home) as draft:
        if draft is not None:
            draft.mkdir()
            (draft / "pin.txt").write_text(pin)
            run(str(_seeded()), "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps",
                "--require-hashes", "--dest", str(draft), "--requirement", str(draft / "pin.txt"))  # fmt: skip
    (archive,) = home.glob("*.tar.gz")
    return archive


def _pin(name: str) -> str:
    """A package's entry of the lock file: its version and the hashes of its archives."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", LOCK.read_text())
    (pin,) = [entry for entry in entries if entry.startswith(f"{name}==")]
    return pin


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
