"""Which processes ``efferent up`` consists of, and what each of them may know.

A child's environment holds what it needs and no more: the hands run what a model wrote, so they get neither the keys of
model providers, nor the API key, nor the way into the log.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from efferent.cli.child import ChildSpec
from efferent.cli.data_folder import DataFolder, NatsAccess
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import UpSettings

_PROBE_EVERY_S: Final = 0.02
_SOCKET_PATH_BYTES_MAX: Final = 100
"""A unix socket's path has room for 107 bytes."""

# From SIGTERM to SIGKILL, in the order of stopping; together they stay below the ten seconds that a stop may take.
_DRAIN_BUDGETS_S: Final = {"gateway": 2.5, "automation": 1.0, "brain": 2.0, "hands": 1.7, "nats": 1.5}
_DRAIN_SHARE: Final = 0.6
"""How much of its budget a service is told to drain in; the rest is for closing."""

_HANDS_DEFAULTS: Final = {"EFFERENT_HANDS_DRAIN_S": "0.8"}
_UMASKS: Final = {"hands": 0o022}
"""The hands make files for users other than their own. All others keep everything to themselves."""

_OWN_PREFIX: Final = "EFFERENT_"
_TRUST_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_NOT_INHERITED: Final = frozenset({"EFFERENT_API_KEY", "EFFERENT_BACKUP_PASSPHRASE"})

_PLAIN_VARIABLES: Final = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONWARNINGS",
    "TMPDIR", "TZ", "USER", "EFFERENT_LOG_LEVEL",
)  # fmt: skip


def children(settings: UpSettings, folder: DataFolder, key: str, environ: Mapping[str, str]) -> list[ChildSpec]:
    """The children in the order in which they are stopped. Raises CommandError."""
    access = folder.nats_access() if settings.nats_url is None else None
    after = ("nats",) if access is not None else ()
    hands_address = f"unix:{socket_folder(folder.path) / 'hands.sock'}"
    plain = {name: environ[name] for name in _PLAIN_VARIABLES if name in environ}
    plain["EFFERENT_DATA_DIR"] = str(folder.path)
    inherited = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    shared = inherited | plain | _log_access(settings, access) | _hands_access(hands_address)
    gateway = {"EFFERENT_HOST": settings.host, "EFFERENT_PORT": str(settings.port), "EFFERENT_API_KEY": key}
    hands = {name: value for name, value in environ.items() if name.startswith("EFFERENT_HANDS_")}
    own = {name: value for name, value in inherited.items() if name.startswith(_OWN_PREFIX)}
    automation = own | plain | _trust(environ) | _log_access(settings, access)
    specs = [
        _service("gateway", shared | gateway, after),
        _service("automation", automation, after),
        _service("brain", shared, after),
        _service("hands", _HANDS_DEFAULTS | plain | hands | {"EFFERENT_HANDS_LISTEN": hands_address}, ()),
    ]
    if access is not None:
        specs.append(
            ChildSpec(
                name="nats",
                argv=command_line("nats"),
                environ=plain,
                drain_budget_s=_DRAIN_BUDGETS_S["nats"],
                probe=lambda: greeted(access.port),
                pass_fds=(folder.lock_fd,),
            )
        )
    return specs


def command_line(command: str) -> tuple[str, ...]:
    """How a child is started: the installed script where there is one, so that ``ps`` shows ``efferent <command>``."""
    script = Path(sys.executable).with_name("efferent")
    program = (str(script),) if script.is_file() else ("-m", "efferent.cli.main")
    return (sys.executable, *program, command)


def socket_folder(data: Path) -> Path:
    """A private folder for unix sockets: in the data folder, or in the temporary folder when that path is too long.

    Raises CommandError.
    """
    folder = data / "run"
    if len(os.fsencode(folder)) + 16 > _SOCKET_PATH_BYTES_MAX:
        digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"efferent-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if (owner := folder.lstat()).st_uid != os.getuid() or owner.st_mode & 0o077:
        raise CommandError(f"{folder}, for unix sockets, belongs to somebody else or is open to others: remove it")
    return folder


async def greeted(port: int) -> None:
    """Return once a nats-server on this port of 127.0.0.1 greets its clients, which it does when its store is open."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            greeting = await reader.readline()
            writer.close()
            if greeting.startswith(b"INFO "):
                return
        except OSError:
            pass
        await asyncio.sleep(_PROBE_EVERY_S)


def _service(name: str, environ: Mapping[str, str], after: tuple[str, ...]) -> ChildSpec:
    budget_s = _DRAIN_BUDGETS_S[name]
    return ChildSpec(
        name=name,
        argv=command_line(name),
        environ={**environ, "EFFERENT_DRAIN_BUDGET_S": f"{budget_s * _DRAIN_SHARE:g}"},
        drain_budget_s=budget_s,
        after=after,
        umask=_UMASKS.get(name, 0o077),
    )


def _trust(environ: Mapping[str, str]) -> dict[str, str]:
    """Whose certificates are trusted, for a child that calls out."""
    return {name: environ[name] for name in _TRUST_VARIABLES if name in environ}


def _hands_access(address: str) -> dict[str, str]:
    return {"EFFERENT_HANDS_ADDRESS": address, "EFFERENT_BRAIN_HANDS_ADDRESS": address}


def _log_access(settings: UpSettings, access: NatsAccess | None) -> dict[str, str]:
    if access is None:
        return {"NATS_URL": settings.nats_url or ""}
    return {"NATS_URL": access.url, "EFFERENT_NATS_TOKEN": access.token}
