"""Runs the real thing for tests: ``efferent up`` in a process of its own, on a free port and its own data folder."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from efferent.common.runtime.free_port import free_port

READY_WAIT_S: Final = 120.0
STOP_WAIT_S: Final = 45.0
SPAWN_WAIT_S: Final = 30.0
API_KEY: Final = "sk-ant-efferent-test-key-0123456789abcdef"
SERVICES: Final = ("nats", "hands", "brain", "automation", "gateway")


@dataclass
class EfferentServer:
    """One ``efferent up``. Killing and starting it again keeps port, key and data folder."""

    data_dir: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    command: tuple[str, ...] = (sys.executable, "-m", "efferent.cli.main", "up")

    @property
    def base_url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """What all its processes wrote to their logs (stderr)."""
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    @property
    def output_file(self) -> Path:
        """What it printed for its user (stdout): the lines that a client needs, the key among them."""
        return self.data_dir.parent / f"{self.data_dir.name}.out"

    @property
    def process_id(self) -> int:
        """The supervisor's."""
        assert self.process is not None
        return self.process.pid

    @property
    def nats_token(self) -> str:
        """What its services show to the embedded nats-server."""
        token: str = json.loads((self.data_dir / "run" / "nats.json").read_text())["token"]
        return token

    async def beside_it(self, *words: str) -> tuple[str, str]:
        """What another command of ``efferent`` prints on this machine, and what it says beside that."""
        process = await asyncio.create_subprocess_exec(
            *self.command[:-1],
            *words,
            env={**os.environ, "EFFERENT_DATA_DIR": str(self.data_dir), "EFFERENT_PORT": str(self.port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        return output.decode().strip(), said.decode()

    def start(self) -> None:
        """Start it and wait until a turn can run."""
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill_everything()
            raise

    def launch(self) -> None:
        """Start it and do not wait."""
        environ = {
            **os.environ,
            "EFFERENT_DATA_DIR": str(self.data_dir),
            "EFFERENT_PORT": str(self.port),
            "EFFERENT_API_KEY": API_KEY,
            "EFFERENT_RESTART_BURST": "10000",
            "EFFERENT_BRAIN_RETRY_BASE_S": "0.05",
            **self.environ,
        }
        with self.log_file.open("ab") as log, self.output_file.open("ab") as output:
            self.process = subprocess.Popen(self.command, env=environ, stdout=output, stderr=log)

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` says that a turn can run."""
        deadline = time.monotonic() + READY_WAIT_S
        last = ""
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"efferent up ended with {self.process.returncode}: {self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=5):  # noqa: S310 (loopback)
                    return
            except urllib.error.HTTPError as error:
                last = error.read().decode(errors="replace")
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise AssertionError(f"not ready within {READY_WAIT_S} s: {last}\n{self.tail()}")

    def tail(self) -> str:
        """The end of the log, for a failed test's message."""
        return self.log_file.read_text(errors="replace")[-4000:] if self.log_file.exists() else ""

    def errors(self) -> list[str]:
        """Lines of the log that tell of a defect."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [line for line in lines if '"level":"ERROR"' in line or line.startswith("Traceback")]

    @contextlib.contextmanager
    def beside(self, service: str, log: Path, **environ: str) -> "Iterator[subprocess.Popen[bytes]]":
        """One more process of a service that nobody supervises, with the surroundings of the supervised one."""
        own = Path(f"/proc/{self.pids()[service]}/environ").read_bytes().decode().rstrip("\0").split("\0")
        told = dict(line.split("=", 1) for line in own if not line.startswith("EFFERENT_SUPERVISOR"))
        with log.open("wb") as output:
            command = [sys.executable, "-m", "efferent.cli.main", service]
            process = subprocess.Popen(command, env={**told, **environ}, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + READY_WAIT_S
            while b'"message":"ready"' not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def pids(self) -> dict[str, int]:
        """The children by service, as their command lines say."""
        assert self.process is not None
        found: dict[str, int] = {}
        for pid, parent, command in _processes():
            if parent == self.process.pid:
                for name in SERVICES:
                    if name in command[-1:] or (name == "nats" and any("nats-server" in word for word in command)):
                        found[name] = pid
        return found

    def kill(self, service: str) -> int:
        """SIGKILL one service; the supervisor starts it again. Waits for one that is just being started.

        Returns the pid that died.
        """
        deadline = time.monotonic() + SPAWN_WAIT_S
        while (pid := self.pids().get(service)) is None:
            assert time.monotonic() < deadline, f"{service} is not started again: {self.tail()}"
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and all its children, as a power cut would."""
        assert self.process is not None
        for pid in (self.process.pid, *self.pids().values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as Ctrl-C would. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise


def _processes() -> Iterator[tuple[int, int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            yield int(folder.name), int(status[1]), command


@contextlib.contextmanager
def scripted_model() -> Iterator[str]:
    """The scripted model in a process of its own; gives its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.scripted_model", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http"), f"the scripted model said {url!r}"
        yield url.rsplit(" ", 1)[-1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
