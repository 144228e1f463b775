"""A self-hosted session on a real log, its work items, and the reactor that is shown its records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from efferent.automation.work.reactor import WorkReactor
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain import work
from efferent.common.domain.commands import EventDraft
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, SessionId
from efferent.common.domain.resources.environment import EnvironmentConfig, SelfHostedConfig
from efferent.common.domain.resources.work import WorkItem
from efferent.common.domain.timestamp import Timestamp, from_epoch_us
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.reading import StreamReader
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.jetstream.work_log import JetStreamWorkLog, StoredWork
from efferent.common.ports import RawRecord
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.specification import Story, toolset
from efferent.common.work.enqueuing import WorkEnqueuer

TTL_S = 60
ENVIRONMENT = EnvironmentId("env_1")
SESSION = SessionId("sesn_1")


@dataclass
class Stage:
    """What a test works with. The story is played in memory; ``written`` brings its records into the log."""

    story: Story
    sessions: JetStreamSessionLog
    log: JetStreamWorkLog
    reactor: WorkReactor
    clock: FakeClock
    _session_records: StreamReader
    _work_records: StreamReader
    _written: int = 0
    _last: int = 0
    _shown: list[RawRecord] = field(default_factory=list)

    @property
    def now(self) -> Timestamp:
        """The time."""
        return from_epoch_us(self.clock.now_us())

    async def written(self) -> None:
        """Append what the story recorded, and show it to nobody."""
        for record in self.story.records[self._written :]:
            self._last = await self.sessions.append(SESSION, "in", record, expected=self._last)
        self._written = len(self.story.records)

    async def shown(self) -> None:
        """Append what the story recorded, and show every new record to the reactor."""
        await self.written()
        after = self._shown[-1].sequence if self._shown else 0
        async for page in self._session_records.pages(subjects.session_fence(SESSION), after=after, reach=None):
            self._shown += page
            for raw in page:
                await self.reactor.handle_session(raw)

    async def shown_again(self) -> None:
        """Show the reactor everything that it has seen."""
        for raw in self._shown:
            await self.reactor.handle_session(raw)

    async def items(self) -> list[WorkItem]:
        """The session's items, in the order of their latest change."""
        return [stored.item for stored in await self.log.of_session(ENVIRONMENT, SESSION)]

    async def newest(self) -> StoredWork:
        """The item that changed last."""
        return (await self.log.of_session(ENVIRONMENT, SESSION))[-1]

    async def claimed(self) -> StoredWork:
        """The newest item, polled and beaten for."""
        stored = await self.newest()
        polled = work.claim(stored.item, self.now, key_id=ApiKeyId("apikey_a"), token_hash="a", seen=self._last)
        beaten = work.heartbeat(polled, self.now, expected=None, ttl_s=None).item
        return await self.log.change(beaten, expected=stored.sequence)

    async def stopped(self, stored: StoredWork, *, force: bool = True, seen: int | None = None) -> None:
        """Stop an item and show the reactor the record of it."""
        item = work.stop(stored.item, self.now, force=force, seen=seen)
        await self.log.change(item, expected=stored.sequence)
        await self.show_item()

    async def show_item(self) -> None:
        """Show the reactor the newest record of any item."""
        newest = await self._work_records.last(subjects.work_fence(ENVIRONMENT, SESSION))
        assert newest is not None
        await self.reactor.handle_item(newest.raw)


@asynccontextmanager
async def stage(
    connection: Connection, folder: Path, *initial: EventDraft, environment: EnvironmentConfig | None = None
) -> AsyncIterator[Stage]:
    """A session that is created and written, and that the reactor has not seen."""
    clock = FakeClock()
    blobs = LocalFolderBlobs(folder / "blobs")
    sessions = JetStreamSessionLog(connection, blobs)
    log = JetStreamWorkLog(connection)
    reactor = WorkReactor(
        log, sessions, blobs, WorkEnqueuer(log, clock, RandomSeeds(), ttl_s=TTL_S), clock, environments_kept_max=2
    )
    story = Story(tools=[toolset()], environment=environment or SelfHostedConfig()).create(*initial)
    yield Stage(
        story,
        sessions,
        log,
        reactor,
        clock,
        StreamReader(connection, subjects.SESSIONS),
        StreamReader(connection, subjects.WORK),
    )
