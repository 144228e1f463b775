"""A real S3 server for tests: one process with a bucket of its own, in a temporary folder."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.common.runtime.free_port import free_port
from tests.support.waiting import wait_for_port

INSTALLER: Final = Path(__file__).parents[2] / "tools" / "install_s3_server.sh"
BUCKET: Final = "efferent"
STARTUP_WAIT_S: Final = 20.0


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and how to get in."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path
    """Objects are files below ``<folder>/<bucket>``."""
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    @property
    def environ(self) -> dict[str, str]:
        """Variables by which a server uses it."""
        return {
            "EFFERENT_BLOBS": "s3",
            "EFFERENT_S3_ENDPOINT": self.endpoint,
            "EFFERENT_S3_BUCKET": BUCKET,
            "EFFERENT_S3_ACCESS_KEY": self.access_key,
            "EFFERENT_S3_SECRET_KEY": self.secret_key,
        }


@contextlib.contextmanager
def running_s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server (the first time on a machine: build it) and end it afterwards."""
    installed = subprocess.run([str(INSTALLER)], capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    (folder / "objects" / BUCKET).mkdir(parents=True)
    port, access_key, secret_key = free_port(), secrets.token_hex(8), secrets.token_hex(16)
    command = [installed.stdout.strip(), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"]
    environ = {**os.environ, "ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "posix", str(folder / "objects")], env=environ, stdout=log, stderr=log)
    try:
        wait_for_port(port, STARTUP_WAIT_S, lambda: process.poll() is None)
        yield S3Server(f"http://127.0.0.1:{port}", access_key, secret_key, folder / "objects", process)
    finally:
        process.kill()
        process.wait()
