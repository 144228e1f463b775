"""Settings that more than one service has. Each service's own settings class holds these as a part of itself.

They are read from the environment once, in the command line's code, and passed down; nothing here reads them again.
"""

import os
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.net.public_addresses import AddressPolicy

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

ORGANIZATION_ID_DEFAULT: Final = "00000000-0000-4000-8000-000000000001"
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


class OrganizationSettings(BaseSettings):
    """The one organization of the installation, and what it may reach."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str = Field(default=ORGANIZATION_ID_DEFAULT, validation_alias=AliasChoices("EFFERENT_ORGANIZATION_ID", "id"))
    webhook_allow: str = Field(default="", validation_alias=AliasChoices("EFFERENT_WEBHOOK_ALLOW", "webhook_allow"))
    """Hosts, addresses and networks that webhooks may be sent to although they are not public; any port, and http."""
    mcp_allow: str = Field(default="", validation_alias=AliasChoices("EFFERENT_MCP_ALLOW", "mcp_allow"))
    """The same for MCP servers and the token endpoints of their credentials."""
    enrollment_url: str | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_ENROLLMENT_URL", "enrollment_url")
    )
    """The operator's page for the entities of user profiles; None: the gateway's, which asks them nothing."""

    @field_validator("webhook_allow", "mcp_allow")
    @classmethod
    def _readable(cls, text: str) -> str:
        AddressPolicy.parse(text)
        return text

    @field_validator("enrollment_url")
    @classmethod
    def _page(cls, text: str | None) -> str | None:
        if not text:
            return None
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("must be an http:// or https:// address without a fragment")
        return text

    def webhook_policy(self) -> AddressPolicy:
        """Where webhooks may be sent to."""
        return AddressPolicy.parse(self.webhook_allow)

    def mcp_policy(self) -> AddressPolicy:
        """Which MCP servers and token endpoints may be asked."""
        return AddressPolicy.parse(self.mcp_allow)


class BlobSettings(BaseSettings):
    """Where blobs (files, skills, large records, snapshots) are kept; every service of one server has the same."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    backend: Literal["local", "s3"] = Field(default="local", validation_alias=AliasChoices("EFFERENT_BLOBS", "backend"))
    """A folder in the data folder, or a bucket of an S3 service."""
    endpoint: str | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_S3_ENDPOINT", "endpoint"))
    """``https://host`` or ``http://host:port``."""
    bucket: str | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_S3_BUCKET", "bucket"))
    region: str | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_S3_REGION", "region"))
    access_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_S3_ACCESS_KEY", "access_key")
    )
    access_key_file: Path | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_S3_ACCESS_KEY_FILE", "access_key_file")
    )
    secret_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_S3_SECRET_KEY", "secret_key")
    )
    secret_key_file: Path | None = Field(
        default=None, validation_alias=AliasChoices("EFFERENT_S3_SECRET_KEY_FILE", "secret_key_file")
    )
    ca_file: Path | None = Field(default=None, validation_alias=AliasChoices("EFFERENT_S3_CA_FILE", "ca_file"))
    """Certificates that an https endpoint may be signed by; unset: the public ones."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "local":
            return self
        if self.endpoint is None or not _is_endpoint(self.endpoint):
            raise ValueError("EFFERENT_BLOBS=s3 needs EFFERENT_S3_ENDPOINT: http://host:port or https://host, no path")
        if not self.bucket:
            raise ValueError("EFFERENT_BLOBS=s3 needs EFFERENT_S3_BUCKET")
        _one_of("EFFERENT_S3_ACCESS_KEY", self.access_key, self.access_key_file)
        _one_of("EFFERENT_S3_SECRET_KEY", self.secret_key, self.secret_key_file)
        return self


def secret_text(given: SecretStr | None, file: Path | None) -> str:
    """A secret that stands in a variable or in a file. Raises OSError when the file cannot be read."""
    if given is not None:
        return given.get_secret_value()
    return file.read_text().strip() if file is not None else ""


def _is_endpoint(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/") and not parts.query


def _one_of(variable: str, given: SecretStr | None, file: Path | None) -> None:
    if (given is None) == (file is None):
        raise ValueError(f"EFFERENT_BLOBS=s3 needs either {variable} or {variable}_FILE")


def data_dir_default() -> Path:
    """Where data goes unless ``EFFERENT_DATA_DIR`` says otherwise: the user's data folder of the XDG convention."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "efferent"
