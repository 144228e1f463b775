"""What ``efferent up`` reads from the environment.

A plain dataclass, not pydantic: the supervisor lives as long as the server and stays as small as it can.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from efferent.cli.errors import CommandError

HOST_DEFAULT: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8400
_RESTART_BURST_DEFAULT: Final = 3
_LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_ANY_HOSTS: Final = frozenset({"0.0.0.0", "::", ""})


@dataclass(frozen=True, slots=True)
class UpSettings:
    """Everything that decides how the server of this machine is put together."""

    host: str
    port: int
    data_dir: Path
    nats_url: str | None
    api_key: str | None
    tls_cert: Path | None
    tls_key: Path | None
    allow_plaintext: bool
    """The operator says that something in front of the server speaks TLS."""
    restart_burst: int
    """Deaths of one service within a minute after which it is still started again at once."""

    @property
    def base_url(self) -> str:
        """The address for a client on this machine."""
        host = HOST_DEFAULT if self.host in _ANY_HOSTS else self.host
        scheme = "https" if self.tls_cert is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only programs on this machine can reach the server."""
        return self.host in _LOOPBACK_HOSTS or self.host.startswith("127.")


def read_settings(environ: Mapping[str, str]) -> UpSettings:
    """Read and check the settings. Raises CommandError."""
    tls_cert, tls_key = environ.get("EFFERENT_TLS_CERT"), environ.get("EFFERENT_TLS_KEY")
    if bool(tls_cert) != bool(tls_key):
        raise CommandError("EFFERENT_TLS_CERT and EFFERENT_TLS_KEY belong together: set both, or neither")
    settings = UpSettings(
        host=environ.get("EFFERENT_HOST") or HOST_DEFAULT,
        port=_number(environ, "EFFERENT_PORT", PORT_DEFAULT, least=1, most=65535),
        data_dir=data_dir(environ),
        nats_url=environ.get("NATS_URL") or None,
        api_key=environ.get("EFFERENT_API_KEY") or None,
        tls_cert=Path(tls_cert) if tls_cert else None,
        tls_key=Path(tls_key) if tls_key else None,
        allow_plaintext=environ.get("EFFERENT_ALLOW_PLAINTEXT", "").lower() in {"1", "true", "yes"},
        restart_burst=_number(environ, "EFFERENT_RESTART_BURST", _RESTART_BURST_DEFAULT, least=1, most=10_000),
    )
    if not settings.is_loopback and settings.tls_cert is None and not settings.allow_plaintext:
        raise CommandError(
            f"EFFERENT_HOST={settings.host} can be reached from outside this machine, where API keys must not travel "
            "in plain text: set EFFERENT_TLS_CERT and EFFERENT_TLS_KEY, or EFFERENT_ALLOW_PLAINTEXT=1 when a proxy "
            "in front of the server speaks TLS"
        )
    for path in (settings.tls_cert, settings.tls_key):
        if path is not None and not path.is_file():
            raise CommandError(f"the TLS file {path} does not exist")
    return settings


def data_dir(environ: Mapping[str, str]) -> Path:
    """The data folder: ``EFFERENT_DATA_DIR``, else ``efferent`` in the user's data folder of the XDG convention."""
    if chosen := environ.get("EFFERENT_DATA_DIR"):
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "efferent"


def _number(environ: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise CommandError(f"{name}={text} is not a number from {least} to {most}")
    return int(text)
