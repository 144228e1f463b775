"""Settings that more than one service has. Each service's own settings class holds these as a part of itself.

They are read from the environment once, in the command line's code, and passed down; nothing here reads them again.
"""

import os
from pathlib import Path
from typing import Final, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

_NATS_URL_DEFAULT: Final = "nats://127.0.0.1:4222"


class NatsSettings(BaseSettings):
    """Where the log is and how to get in."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    url: str = Field(default=_NATS_URL_DEFAULT, validation_alias=AliasChoices("NATS_URL", "url"))
    """One or more addresses, separated by commas."""
    token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_NATS_TOKEN", "NATS_TOKEN", "token")
    )

    def servers(self) -> list[str]:
        """The addresses one by one."""
        return [server.strip() for server in self.url.split(",") if server.strip()]

    def token_text(self) -> str | None:
        """The token for the connection, None when the server wants none."""
        return self.token.get_secret_value() if self.token is not None else None


class HostSettings(BaseSettings):
    """What every service needs to know about the machine that it runs on."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    data_dir: Path = Field(
        default_factory=lambda: data_dir_default(), validation_alias=AliasChoices("EFFERENT_DATA_DIR", "data_dir")
    )
    """Folder with everything that the server keeps; only its owner can read it."""
    log_level: LogLevel = Field(default="INFO", validation_alias=AliasChoices("EFFERENT_LOG_LEVEL", "log_level"))


def data_dir_default() -> Path:
    """Where data goes unless ``EFFERENT_DATA_DIR`` says otherwise: the user's data folder of the XDG convention."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "efferent"
