"""What one run needs: the scripted model, the floor and the server, each in processes of its own."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from tests.bench import processes
from tests.bench.client import Client
from tests.bench.sizes import Sizes
from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is running."""

    sizes: Sizes
    server: EfferentServer
    client: Client
    """Of the server."""
    floor: Client
    """Of the floor."""
    model_url: str
    other_pids: dict[str, int]
    """Of the floor's processes and the scripted model."""
    floor_nats: nats_server.ServerSpec
    folder: Path


@contextlib.asynccontextmanager
async def running(sizes: Sizes, folder: Path) -> AsyncIterator[Stage]:
    """Start everything; stop it at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        model_url = stack.enter_context(scripted_model())
        spec = nats_server.ServerSpec(
            name="floor", folder=folder / "floor", port=free_port(), token=nats_server.new_token()
        )
        floor_nats = await stack.enter_async_context(nats_server.running(spec))
        edge, floor_url = await stack.enter_async_context(_floor_process("edge", spec, model_url))
        worker, _ = await stack.enter_async_context(_floor_process("worker", spec, model_url))
        pids = {
            "floor nats": floor_nats.process.pid,
            "floor edge": edge,
            "floor worker": worker,
            "model": _pid_of("tests.support.scripted_model"),
        }
        server = EfferentServer(
            folder / "data",
            {
                "ANTHROPIC_BASE_URL": model_url,
                "ANTHROPIC_API_KEY": "bench-provider-key",
                "EFFERENT_SCHEDULED_DEPLOYMENTS_MAX": "100000",
            },
        )
        stack.callback(_stop, server)
        await asyncio.to_thread(server.start)
        client = await stack.enter_async_context(Client(server.base_url, API_KEY))
        await client.prepare()
        floor = await stack.enter_async_context(Client(floor_url))
        yield Stage(sizes, server, client, floor, model_url, pids, spec, folder)


@contextlib.asynccontextmanager
async def _floor_process(part: str, spec: nats_server.ServerSpec, model_url: str) -> AsyncIterator[tuple[int, str]]:
    """One process of the floor: its pid and the line that it says when it is ready. It ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.floor", part),
        *("--nats", f"nats://127.0.0.1:{spec.port}", "--token", spec.token, "--model", model_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("started with pipes")
    try:
        line = (await process.stdout.readline()).decode().strip()
        if not line:
            raise RuntimeError(f"the floor's {part} did not start")
        yield process.pid, line
    finally:
        process.stdin.close()
        await process.wait()


def _stop(server: EfferentServer) -> None:
    if server.process is not None:
        server.stop()


def _pid_of(module: str) -> int:
    """The child of this process that runs the module. Raises RuntimeError when there is none."""
    for pid in processes.tree(os.getpid()):
        if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise RuntimeError(f"no process runs {module}")
