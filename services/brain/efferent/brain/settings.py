"""Settings of the brain, read once at start from ``EFFERENT_BRAIN_*``."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.runtime.settings import BlobSettings, HostSettings, NatsSettings


class BrainSettings(BaseSettings):
    """How the brain works. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="EFFERENT_BRAIN_", frozen=True)

    nats: NatsSettings = Field(default_factory=NatsSettings)
    machine: HostSettings = Field(default_factory=HostSettings)
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    replicas: int = Field(default=1, ge=1, le=5, validation_alias="EFFERENT_NATS_REPLICAS")
    """Copies of each stream."""
    hands_address: str = "127.0.0.1:8402"
    """Where the hands listen (host:port, or ``unix:<path>``)."""
    sessions_max: int = 2_000
    """Sessions that this brain works on at once; beyond it, input is left to other brains."""
    cached_sessions_max: int = 2_000
    """Folded sessions kept for their next turn."""
    ack_wait_s: float = 3.0
    """How long an inbound record may stay unanswered before another brain gets it."""
    in_progress_every_s: float = 1.0
    """How often held records are said to be in progress."""
    busy_nak_delay_s: float = 0.5
    """When a record of a session that another brain holds is delivered again."""
    retry_base_s: float = 1.0
    """Wait before the first retry of a failed model request; doubles each time."""
    retry_max_s: float = 30.0
    """Longest wait before a retry."""
    hands_wait_s: float = 120.0
    """How long a tool call waits for hands that do not answer before it becomes an error result."""
    compact_at_fraction: float = 0.8
    """Part of the model's context window at which the context is summarised."""
