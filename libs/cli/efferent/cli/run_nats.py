"""``efferent nats``: becomes the embedded nats-server of the data folder.

On Linux the process turns into nats-server itself, which the kernel kills with the supervisor. Elsewhere it stays as
the server's parent and watches the supervisor's socket.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

from efferent.cli.data_folder import NATS_FOLDER, nats_log_file, read_nats_access
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import data_dir
from efferent.common.runtime.nats_server import ServerMissing, ServerSpec, command, prepare
from efferent.common.runtime.parent_death import SUPERVISOR_FD, SUPERVISOR_PID, SupervisorLink, die_with_parent

_LOG_BYTES_MAX: Final = 10 * 1024 * 1024
_STOP_BUDGET_S: Final = 5.0


def main(_arguments: argparse.Namespace) -> int:
    """Run nats-server with the port and token that the data folder holds. Raises CommandError."""
    data = data_dir(os.environ)
    access = read_nats_access(data)
    if access is None:
        raise CommandError(f"{data} holds no address for a nats-server; 'efferent up' makes one")
    spec = ServerSpec(folder=data / NATS_FOLDER, port=access.port, token=access.token)
    try:
        prepare(spec)
        argv = [*command(spec), "-l", str(_log_file(data))]
    except ServerMissing as error:
        raise CommandError(str(error)) from error
    if sys.platform == "linux" or SUPERVISOR_FD not in os.environ:
        _become(argv)
    return asyncio.run(guard(argv))


def _log_file(data: Path) -> Path:
    """Where the server logs to; a file that has grown too large becomes the one before."""
    file = nats_log_file(data)
    if file.exists() and file.stat().st_size > _LOG_BYTES_MAX:
        file.replace(file.with_suffix(".log.1"))
    return file


def _become(argv: list[str]) -> NoReturn:
    if SUPERVISOR_FD in os.environ:
        os.set_inheritable(int(os.environ[SUPERVISOR_FD]), False)
        die_with_parent(int(os.environ[SUPERVISOR_PID]))
    os.execv(argv[0], argv)  # noqa: S606 - the binary that was looked up, no shell wanted


async def guard(argv: list[str]) -> int:
    """Run the program as a child and stop it when told to, or when the supervisor is gone. Returns its exit code."""
    link = SupervisorLink.from_environment(os.environ)
    told_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.DEVNULL)
    waits: list[asyncio.Task[object]] = [asyncio.create_task(process.wait()), asyncio.create_task(told_to_stop.wait())]
    if link is not None:
        waits.append(asyncio.create_task(link.supervisor_gone()))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_BUDGET_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    for task in waits:
        task.cancel()
    return await process.wait()
