"""Files, skills and blobs over in-memory twins."""

from dataclasses import dataclass, field
from typing import Final

from efferent.common.blobs.sweep import BlobSweep
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.files.store import FileStore
from efferent.common.memory.store import MemoryStores
from efferent.common.runtime.metrics import Metrics
from efferent.common.skills.store import SkillStore
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_log import InMemoryControlLog, InMemorySessionLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.seeds import CountedSeeds

ACTOR: Final = Actor(WorkspaceId("wrkspc_a"))
SESSION: Final = SessionId("sesn_a")
DAY_S: Final = 86_400.0


@dataclass
class Stores:
    """One server's stores, all of it in memory."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.blobs = InMemoryBlobs(self.clock.now_us)
        self.control_log = InMemoryControlLog(InMemoryStream())
        self.session_log = InMemorySessionLog(InMemoryStream(), self.blobs)
        ids = CountedSeeds()
        self.aggregates = Aggregates(
            self.control_log, LogSets(self.control_log), self.clock, Metrics(), write_deadline_s=5
        )
        self.files = FileStore(self.aggregates, self.blobs, self.clock, ids, bytes_max=1_000)
        self.skills = SkillStore(self.aggregates, self.blobs, ids)
        self.memories = MemoryStores(self.aggregates, self.control_log, self.blobs, ids)

    def sweep(self, log_identity: str = "this log") -> BlobSweep:
        """A sweep of a process that just started."""
        return BlobSweep(
            self.blobs, self.control_log, self.session_log, self.files, self.clock, log_identity=log_identity
        )

    async def keys(self, prefix: str = "") -> list[str]:
        """All keys of blobs but the sweep's own."""
        found = [entry.key async for entry in self.blobs.entries(prefix)]
        return sorted(key for key in found if not key.startswith("sweep/"))
