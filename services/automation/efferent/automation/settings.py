"""Settings of the automation, read once at start from ``EFFERENT_AUTOMATION_*``."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.runtime.settings import HostSettings, NatsSettings


class AutomationSettings(BaseSettings):
    """How the automation works. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="EFFERENT_AUTOMATION_", frozen=True)

    nats: NatsSettings = Field(default_factory=NatsSettings)
    machine: HostSettings = Field(default_factory=HostSettings)
    replicas: int = Field(default=1, ge=1, le=5, validation_alias="EFFERENT_NATS_REPLICAS")
    """Copies of each stream."""
