"""``efferent up``: the whole server on one machine, in the foreground until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from efferent.cli.children import children, command_line
from efferent.cli.data_folder import DataFolder
from efferent.cli.errors import CommandError
from efferent.cli.readiness import EXPLAIN_AFTER_S, announce
from efferent.cli.store_watch import StoreWatch
from efferent.cli.supervisor import Supervisor
from efferent.cli.up_settings import UpSettings, read_settings

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int | bytes, ...]]
"""One answer of ``getaddrinfo``."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(_arguments: argparse.Namespace) -> int:
    """Check, start, supervise, stop. Returns 0 after a stop that was asked for. Raises CommandError."""
    os.umask(0o077)
    settings = read_settings(os.environ)
    folder = DataFolder.open(settings.data_dir)
    check_port(settings)
    _check_config()
    return asyncio.run(_up(settings, folder))


async def _up(settings: UpSettings, folder: DataFolder) -> int:
    key = settings.api_key or folder.api_key()
    specs = children(settings, folder, key, os.environ)
    supervisor = Supervisor(specs, say, restart_burst=settings.restart_burst)
    told_to_stop = asyncio.Event()

    def stop() -> None:
        if told_to_stop.is_set():
            say("told to stop twice: killing what is left")
            supervisor.kill()
        told_to_stop.set()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    say(f"starting with data in {folder.path}")
    supervisor.start()
    announcing = asyncio.create_task(_announce(supervisor, settings, key))
    watching = asyncio.create_task(_watch_store(supervisor, folder.path)) if settings.nats_url is None else None
    await told_to_stop.wait()
    announcing.cancel()
    if watching is not None:
        watching.cancel()
    say("stopping")
    await supervisor.stop()
    say("stopped")
    return 0


async def _watch_store(supervisor: Supervisor, data_dir: Path) -> None:
    async def restart() -> None:
        say("nats-server cannot write since its disk was full; there is room again: starting it anew")
        await supervisor.restart("nats")

    await StoreWatch(data_dir, restart).run()


async def _announce(supervisor: Supervisor, settings: UpSettings, key: str) -> None:
    """Say that the server is ready; also begin to ask why not when some child takes too long to say so itself."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EXPLAIN_AFTER_S):
            await supervisor.wait_ready()
    await announce(settings.base_url, key, say, tls_cert=settings.tls_cert)


def check_port(settings: UpSettings) -> None:
    """Make sure that the gateway can listen. Raises CommandError."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CommandError(f"EFFERENT_HOST={settings.host} is not an address of this machine: {error}") from error
    refused = [refusal for address in found if (refusal := _refusal(address)) is not None]
    serious = [refusal for refusal in refused if refusal.errno != errno.EADDRNOTAVAIL]
    if serious or len(refused) == len(found):  # a name may stand for addresses that this machine does not have
        reason = (serious or refused)[0].strerror
        raise CommandError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; "
            "stop what uses it, or choose another port with EFFERENT_PORT"
        )


def _refusal(address: AddressInfo) -> OSError | None:
    """Why nobody can listen there; None when one can."""
    family, kind, protocol, _, place = address
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            return error
    return None


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(f"efferent: {line}", file=sys.stderr, flush=True)


def _check_config() -> None:
    """Check the models file in a process of its own, so that what it imports does not stay in this one's memory."""
    done = subprocess.run(command_line("check-config"), stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - ourselves
    if done.returncode != 0:
        raise CommandError("the configuration was refused; nothing was started")
