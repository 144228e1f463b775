"""A session's folder on the host: what each part of it is for, and who owns it.

Everything but the journal and the run folder belongs to the sandbox's uid. The folder outlives the processes that work
in it; only a release deletes it.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_]{1,100}")

WRITABLE: Final = {
    "/workspace": "workspace",
    "/mnt/session/outputs": "outputs",
    "/mnt/session/tool-output": "tool-output",
    "/home/agent": "home",
}
"""Places in the sandbox that can be written, and the part of the folder that each of them is."""

READ_ONLY: Final = {"/mnt/session/uploads": "uploads", "/run/efferent": "run"}
"""Places that the sandbox can only read."""

TOOL_OUTPUT: Final = "/mnt/session/tool-output"


def is_session_id(text: str) -> bool:
    """Whether the text can be a session's id, and so the name of a folder."""
    return _SESSION_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """Where a session's files are. ``uid``: the sandbox's uid on the host, None when it is the hands' own."""

    path: Path
    uid: int | None

    def part(self, name: str) -> Path:
        """One of the parts named above."""
        return self.path / name

    @property
    def journal(self) -> Path:
        """The session's call journal."""
        return self.path / "journal"

    def prepare(self) -> None:
        """Make what is missing. Durable when it returns. Raises OSError."""
        is_new = not self.path.is_dir()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in WRITABLE.values():
            if _made(self.part(name), 0o755) and self.uid is not None:
                os.chown(self.part(name), self.uid, self.uid)
        for name in READ_ONLY.values():
            _made(self.part(name), 0o755)
        if is_new:
            fsync_folder(self.path)
            fsync_folder(self.path.parent)

    def clear_run(self) -> None:
        """Remove what calls of an earlier sandbox left in the run folder."""
        for entry in os.scandir(self.part("run")):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _made(path: Path, mode: int) -> bool:
    """Make a folder with exactly this mode; False when it was there."""
    try:
        path.mkdir(mode)
    except FileExistsError:
        return False
    path.chmod(mode)
    return True
