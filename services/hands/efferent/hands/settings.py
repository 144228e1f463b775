"""Settings of the hands, read once at start from ``EFFERENT_HANDS_*``."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from efferent.common.runtime.settings import BlobSettings, data_dir_default

MIB = 1024 * 1024
GIB = 1024 * MIB


class HandsSettings(BaseSettings):
    """How the hands work. Times are in seconds; limits (``_max``) hold for each session unless they say otherwise."""

    model_config = SettingsConfigDict(env_prefix="EFFERENT_HANDS_", frozen=True, populate_by_name=True)

    listen: str = "127.0.0.1:8402"
    """Where gRPC is served: host:port (loopback only: there is no authentication yet), or ``unix:<path>``."""
    data_dir: Path = Field(
        default_factory=data_dir_default, validation_alias=AliasChoices("EFFERENT_DATA_DIR", "data_dir")
    )
    """The server's data folder; the hands keep to its folder ``hands``."""
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    """Where the bytes are that are placed in sandboxes."""
    backend: Literal["bubblewrap", "process"] = "bubblewrap"
    """``process`` has no isolation: what a model writes runs with the rights of this service."""

    memory_bytes_max: PositiveInt = 2 * GIB
    processes_max: PositiveInt = 256
    open_files_max: PositiveInt = 4096
    """Open files of one process."""
    disk_bytes_max: PositiveInt = 2 * GIB
    files_max: PositiveInt = 200_000
    tmp_bytes_max: PositiveInt = 512 * MIB
    """Size of the sandbox's /tmp, which is kept in memory and counts as such."""

    placed_bytes_max: PositiveInt = 8 * GIB
    """Of all files that are placed in a session's sandbox together."""
    output_bytes_max: PositiveInt = 10 * MIB
    """Of the output of one command; beyond it, the middle is left out."""
    call_timeout_s: PositiveFloat = 120.0
    """Of a command that asks for no other."""
    call_timeout_s_max: PositiveFloat = 600.0
    file_tool_timeout_s: PositiveFloat = 30.0
    calls_max: PositiveInt = 64
    """Calls of one session that may run or wait at once."""

    sandboxes_max: PositiveInt = 256
    """Live sandboxes of all sessions together; the longest idle makes room."""
    sandbox_wait_s: PositiveFloat = 30.0
    """How long a call waits for room when every sandbox is busy."""
    start_timeout_s: PositiveFloat = 15.0
    idle_s: PositiveFloat = 600.0
    """After so long without a call a sandbox's processes are ended; its files stay."""
    watch_every_s: PositiveFloat = 0.5
    """How often disk and memory of a busy sandbox are looked at."""
    journal_results_max: PositiveInt = 200
    """Results of a session that are kept to be asked for again; of older calls only the fact that they ran."""
    journal_bytes_max: PositiveInt = 64 * MIB

    drain_s: PositiveFloat = 1.0
    """How long a drain waits for running calls before they are interrupted."""
    check_ttl_s: PositiveFloat = 60.0
    """How long a good answer to "can calls run here?" is believed."""
    uid_base: PositiveInt = 1_900_000_000
    """Started as root, each session gets one of the ``uid_count`` uids from here on."""
    uid_count: PositiveInt = 65_536

    @property
    def folder(self) -> Path:
        """The hands' own part of the data folder."""
        return self.data_dir.absolute() / "hands"
