"""Settings of the automation, read once at start from ``EFFERENT_AUTOMATION_*``."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.runtime.settings import BlobSettings, HostSettings, NatsSettings, OrganizationSettings
from efferent.common.secrets.root_key import SecretSettings


class AutomationSettings(BaseSettings):
    """How the automation works. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="EFFERENT_AUTOMATION_", frozen=True)

    nats: NatsSettings = Field(default_factory=NatsSettings)
    machine: HostSettings = Field(default_factory=HostSettings)
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    organization: OrganizationSettings = Field(default_factory=OrganizationSettings)
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    replicas: int = Field(default=1, ge=1, le=5, validation_alias="EFFERENT_NATS_REPLICAS")
    """Copies of each stream."""
    run_ack_wait_s: float = Field(default=10.0, ge=1.0)
    """How long a run of a deployment may take before another replica tries as well."""
    work_lease_ttl_s: int = Field(default=300, ge=2, le=3_600, validation_alias="EFFERENT_WORK_LEASE_TTL_S")
    """How long the worker of a self-hosted environment may be silent before its item goes to another one."""
    dream_timeout_s: float = Field(default=14_400.0, gt=0)
    """How long a dream may take, from its creation, before it fails."""
