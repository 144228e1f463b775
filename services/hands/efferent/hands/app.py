"""The composition root of the hands: where adapters meet ports, and the order of starting and stopping."""

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Final

from efferent.common.blobs.opening import open_blobs
from efferent.hands.adapters import control_groups
from efferent.hands.adapters.bubblewrap import BubblewrapBackend
from efferent.hands.adapters.deletion import clear_deleted
from efferent.hands.adapters.launcher import Launcher
from efferent.hands.adapters.process import ProcessBackend
from efferent.hands.folder import SessionFolder
from efferent.hands.pool import Pool
from efferent.hands.ports import Backend
from efferent.hands.readiness import Readiness
from efferent.hands.sessions import Sessions, session_uid
from efferent.hands.settings import HandsSettings

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_LOOPBACK: Final = ("127.", "localhost:", "[::1]:")
_GRACE_S: Final = 1.0
"""For results that are on their way to the brain when the service stops."""

_log = logging.getLogger(__name__)


class CannotListen(Exception):
    """The address cannot be served; the message says why."""


class Hands:
    """The service: start, drain, stop."""

    def __init__(self, settings: HandsSettings) -> None:
        import grpc.aio  # heavy: only the process that serves needs it

        from efferent.hands.servicer import SandboxesServicer

        self._settings = settings
        self._launcher = Launcher()
        self._controllers = control_groups.find()
        backend = _backend(settings, self._launcher, self._controllers)
        self._pool = Pool(backend, settings, time.monotonic)
        blobs = open_blobs(settings.blobs, settings.data_dir)
        self._sessions = Sessions(backend, self._pool, blobs, settings, time.monotonic)
        self._readiness = Readiness(backend, settings, self._trial_folder, time.monotonic)
        self._servicer = SandboxesServicer(self._sessions, self._readiness, backend.name)
        limits = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ]
        self._server = grpc.aio.server(options=[*limits, ("grpc.so_reuseport", 0)])
        self._sweeping: asyncio.Task[None] | None = None
        self.port = 0
        """The port that is served when ``listen`` asked for port 0."""

    async def start(self) -> None:
        """Serve. Raises CannotListen, OSError. A host where sandboxes cannot run is reported by ``Check``, not here."""
        from efferent.common.hands_api import sandbox_pb2_grpc

        _check_address(self._settings.listen)
        await asyncio.to_thread(_prepare, self._settings.folder)
        await asyncio.to_thread(control_groups.sweep, self._controllers)
        self._launcher.start()
        sandbox_pb2_grpc.add_SandboxesServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(self._settings.listen)
        except RuntimeError as error:
            raise CannotListen(
                f"{self._settings.listen} cannot be served: is something else listening there?"
            ) from error
        await self._server.start()
        if self._settings.listen.startswith("unix:"):
            os.chmod(self._settings.listen.removeprefix("unix:"), 0o600)
        self._sweeping = asyncio.create_task(self._sweep())
        verdict = await self._readiness.check()
        _log.info("serving", extra={"listen": self._settings.listen, "sandboxes": verdict.is_ready})

    async def drain(self) -> None:
        """Refuse new calls, and give running ones ``drain_s`` to end before they are interrupted."""
        self._servicer.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._sessions.settle()
        await self._sessions.interrupt()

    async def stop(self) -> None:
        """End every sandbox and stop serving."""
        self._servicer.is_draining = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await self._sessions.interrupt()
        await self._server.stop(_GRACE_S)
        await self._pool.close()
        self._sessions.close()
        await self._launcher.stop()

    async def _sweep(self) -> None:
        await asyncio.to_thread(clear_deleted, self._settings.folder / "sessions")
        await self._pool.sweep_for_ever()

    def _trial_folder(self, path: Path) -> SessionFolder:
        return SessionFolder(path, session_uid("check", self._settings))


def build(settings: HandsSettings) -> Hands:
    """Put the service together; call it inside a running event loop."""
    return Hands(settings)


def _backend(settings: HandsSettings, launcher: Launcher, controllers: control_groups.Controllers) -> Backend:
    match settings.backend:
        case "bubblewrap":
            return BubblewrapBackend(settings, launcher, controllers)
        case "process":
            _log.warning("tool calls run WITHOUT isolation: EFFERENT_HANDS_BACKEND is process")
            return ProcessBackend(settings, launcher, controllers)


def _check_address(listen: str) -> None:
    """Whoever reaches the address can run commands: nobody but this machine may."""
    if listen.startswith("unix:"):
        path = listen.removeprefix("unix:")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    if not listen.startswith(_LOOPBACK):
        raise CannotListen(f"{listen} is not a loopback address, and the hands have no authentication")


def _prepare(folder: Path) -> None:
    """The folder that only we can look into."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "sessions").mkdir(mode=0o700, exist_ok=True)
