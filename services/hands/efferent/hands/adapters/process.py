"""The backend without isolation: programs run as this service's own user, with a shell per session."""

import os

from efferent.hands.adapters.control_groups import Controllers
from efferent.hands.adapters.deletion import delete_isolated
from efferent.hands.adapters.launched_sandbox import Launch, launch_sandbox
from efferent.hands.adapters.launcher import Launcher
from efferent.hands.adapters.limits import processes_argument, resource_limits
from efferent.hands.folder import READ_ONLY, WRITABLE, SessionFolder
from efferent.hands.launcher.messages import StartSandbox
from efferent.hands.placement import mounts
from efferent.hands.ports import Sandbox, SandboxFailed
from efferent.hands.settings import HandsSettings
from efferent.hands.shell_scripts import KEEPER, SHELL

_PATH_DEFAULT = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class ProcessBackend:
    """Implements ``efferent.hands.ports.Backend``."""

    name = "process"

    def __init__(self, settings: HandsSettings, launcher: Launcher, controllers: Controllers) -> None:
        self._settings = settings
        self._launcher = launcher
        self._controllers = controllers

    async def start(self, folder: SessionFolder) -> Sandbox:
        """Start a shell's keeper. Raises SandboxFailed."""
        settings = self._settings
        groups = self._controllers.groups(settings.memory_bytes_max, settings.processes_max)
        start = StartSandbox(
            argv=("/bin/bash", "--noprofile", "--norc", "-c", KEEPER, *self._arguments(folder)),
            environ=_environment(folder),
            folder=str(folder.part("workspace")),
            uid=None,
            staged=(),
            limits=resource_limits(settings, has_memory_group=groups.memory is not None),
            groups=groups.groups,
            is_kept=True,
        )
        placed = mounts(folder)
        # The inner ones first: the first that fits is the one that is meant.
        places = {**{mount.place: mount.part for mount in placed}, **WRITABLE, **READ_ONLY}
        launch = Launch(
            start,
            groups,
            is_isolated=False,
            places=tuple((at, str(folder.part(it))) for at, it in places.items()),
            writable=(*WRITABLE, *(mount.place for mount in placed if mount.is_writable)),
        )
        try:
            return await launch_sandbox(launch, folder, settings, self._launcher)
        except TimeoutError as error:
            raise SandboxFailed("no shell was ready in time") from error

    async def remove(self, folder: SessionFolder) -> None:
        """Delete the folder."""
        await delete_isolated(folder)

    async def close(self) -> None:
        """Nothing is held."""

    def _arguments(self, folder: SessionFolder) -> list[str]:
        return [str(folder.part("run")), SHELL, processes_argument(self._settings, None, is_namespaced=False)]


def _environment(folder: SessionFolder) -> dict[str, str]:
    """Little of our own: the service's environment may hold what a model must not read."""
    return {
        "PATH": os.environ.get("PATH", _PATH_DEFAULT),
        "HOME": str(folder.part("home")),
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PAGER": "cat",
    }
