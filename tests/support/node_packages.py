"""Node packages for tests, installed once into ``.cache`` from a folder with a lock file.

Node is what the machine has; where there is none, a wheel brings it.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.python_packages import CACHE, environment_with, filling, run

NODE_LOCK: Final = "requirements.lock"
"""Of the wheel that brings node, beside the programs."""
LISTS: Final = ("package.json", "package-lock.json", ".npmrc")


@dataclass(frozen=True)
class NodeProgram:
    """A node that runs programs of a folder with its packages."""

    node: str
    folder: Path

    def command(self, program: str) -> list[str]:
        """How to run one of the folder's programs."""
        return [self.node, str(self.folder / program)]


def node_program(source: Path) -> NodeProgram:
    """The folder's programs with what its lock file names; made again when any of its files changes."""
    programs = sorted(path for path in source.iterdir() if path.suffix == ".mjs")
    files = [*(source / name for name in LISTS), *programs]
    newest = max(int(path.stat().st_mtime) for path in files)
    home = CACHE / f"node-{source.name}-{newest}"
    node, npm = _node(source)
    with filling(home) as draft:
        if draft is not None:
            draft.mkdir()
            for path in files:
                shutil.copy(path, draft)
            run(npm, "ci", "--prefix", str(draft), "--ignore-scripts", "--no-audit", "--no-fund",
                PATH=f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}")  # fmt: skip
    return NodeProgram(node, home)


def _node(source: Path) -> tuple[str, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        return node, npm
    beside = environment_with(source / NODE_LOCK).parent
    return str(beside / "node"), str(beside / "npm")
