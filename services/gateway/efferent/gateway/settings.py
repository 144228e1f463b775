"""Settings of the gateway, read from the environment once by the command line."""

from pathlib import Path
from typing import Final

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.runtime.settings import (
    ORGANIZATION_ID_DEFAULT,
    BlobSettings,
    HostSettings,
    NatsSettings,
    OrganizationSettings,
)
from efferent.common.secrets.root_key import SecretSettings
from efferent.gateway.files.services import FileSettings

MIB: Final = 1024 * 1024


def _names(field: str, variable: str) -> AliasChoices:
    return AliasChoices(variable, field)


class GatewaySettings(BaseSettings):
    """Where the gateway listens, what it keeps where, and its limits."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    nats: NatsSettings = Field(default_factory=NatsSettings)
    machine: HostSettings = Field(default_factory=HostSettings)
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    files: FileSettings = Field(default_factory=FileSettings)
    organization: OrganizationSettings = Field(default_factory=OrganizationSettings)
    secrets: SecretSettings = Field(default_factory=SecretSettings)

    host: str = Field(default="127.0.0.1", validation_alias=_names("host", "EFFERENT_HOST"))
    port: int = Field(default=8400, ge=0, le=65_535, validation_alias=_names("port", "EFFERENT_PORT"))
    """0: any free port."""
    tls_cert: Path | None = Field(default=None, validation_alias=_names("tls_cert", "EFFERENT_TLS_CERT"))
    tls_key: Path | None = Field(default=None, validation_alias=_names("tls_key", "EFFERENT_TLS_KEY"))

    organization_id: str = Field(
        default=ORGANIZATION_ID_DEFAULT, validation_alias=_names("organization_id", "EFFERENT_ORGANIZATION_ID")
    )
    """Shown in the header ``anthropic-organization-id``."""
    replicas: int = Field(default=1, ge=1, le=5, validation_alias=_names("replicas", "EFFERENT_NATS_REPLICAS"))
    """Copies of each stream."""
    hands_address: str | None = Field(default=None, validation_alias=_names("hands_address", "EFFERENT_HANDS_ADDRESS"))
    """Where the hands' gRPC listens; None: readiness does not ask them."""

    creates_per_minute: int | None = Field(
        default=None, ge=1, validation_alias=_names("creates_per_minute", "EFFERENT_RATE_LIMIT_CREATES_PER_MINUTE")
    )
    """Requests other than reads that one key may send in a minute; None: as many as it likes."""
    reads_per_minute: int | None = Field(
        default=None, ge=1, validation_alias=_names("reads_per_minute", "EFFERENT_RATE_LIMIT_READS_PER_MINUTE")
    )
    """The same for retrieves, lists and streams."""

    scheduled_deployments_max: int = Field(
        default=1_000,
        ge=1,
        validation_alias=_names("scheduled_deployments_max", "EFFERENT_SCHEDULED_DEPLOYMENTS_MAX"),
    )
    """Deployments with a schedule in the organization."""
    body_bytes_max: int = Field(default=32 * MIB, ge=1)
    """Longest body of a request."""
    behind_wait_s: float = Field(default=5.0, gt=0)
    """How long a list waits for its projection before it answers 529."""
    write_deadline_s: float = Field(default=5.0, gt=0)
    """How long a change is tried again after conflicts before it answers 529."""
    readiness_check_s: float = Field(default=3.0, gt=0)
    """How long one readiness check may take."""
    shutdown_wait_s: float = Field(default=5.0, gt=0)
    """How long open requests may take when the server stops."""

    work_lease_ttl_s: int = Field(
        default=300, ge=2, le=3_600, validation_alias=_names("work_lease_ttl_s", "EFFERENT_WORK_LEASE_TTL_S")
    )
    """How long the worker of a self-hosted environment may be silent before its item goes to another one."""

    @property
    def projection_dir(self) -> Path:
        """Folder of the files that are rebuilt from the log when they are missing."""
        return self.machine.data_dir / "gateway"
