"""What the stages of the automation's parts have in common: a real log, a clock that stands still, and a desk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from efferent.automation.reactor import Desk
from efferent.automation.settings import AutomationSettings
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.ids import WorkspaceId
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.model_config import load
from efferent.common.ports import ControlLog, SessionLog
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.runtime.metrics import Metrics
from efferent.common.runtime.settings import HostSettings, NatsSettings
from efferent.common.secrets.root_key import SecretSettings
from efferent.common.testing.fake_clock import FakeClock

WITHIN_S: Final = 40.0
ROOT_KEY: Final = "A" * 43 + "="
SECRETS: Final = SecretSettings(key=SecretStr(ROOT_KEY))
WORKSPACE: Final = WorkspaceId("wrkspc_a")


@dataclass
class LogStage:
    """A log, a clock, and what reactors work with."""

    connection: Connection
    nats: NatsSettings
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.ids = RandomSeeds()
        self.blobs = LocalFolderBlobs(self.folder / "blobs")
        self.control = JetStreamControlLog(self.connection)
        self.sessions = JetStreamSessionLog(self.connection, self.blobs)
        self.aggregates = self._aggregates(self.control)
        self.actor = Actor(WORKSPACE)

    def desk(self, *, control: ControlLog | None = None, sessions: SessionLog | None = None, **settings: Any) -> Desk:
        """What a reactor works with, perhaps with a log that gets in its way."""
        control = control or self.control
        return Desk(
            connection=self.connection,
            control=control,
            sessions=sessions or self.sessions,
            blobs=self.blobs,
            aggregates=self._aggregates(control),
            models=load({}),
            clock=self.clock,
            ids=self.ids,
            settings=AutomationSettings(
                nats=self.nats, machine=HostSettings(data_dir=self.folder), secrets=SECRETS, **settings
            ),
        )

    def _aggregates(self, control: ControlLog) -> Aggregates:
        return Aggregates(control, LogSets(control), self.clock, Metrics(), write_deadline_s=5)
