"""What a part of the automation is: it reacts to records, and may run on its own beside that.

Each part (deployments, webhooks, ...) is a package with one ``Reactor``; ``app.py`` lists them. A reactor learns of
records by durable consumers, which all replicas share: one replica gets each record, and gets it again until it was
handled. So ``handle`` must be safe to repeat.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from efferent.automation.settings import AutomationSettings
from efferent.common.control.aggregates import Aggregates
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.model_config import ModelConfigs
from efferent.common.ports import BlobStore, Clock, ControlLog, IdSource, RawRecord, SessionLog

Handle = Callable[[RawRecord], Awaitable[None]]
"""Handles one record. It returns when the record is handled for good; ``Later`` and every error bring it again."""


class Later(Exception):
    """The record cannot be handled now; deliver it again after ``delay_s`` seconds."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


@dataclass(frozen=True, slots=True)
class Need:
    """What makes records matter to a reactor: a record of the control plane. Nobody asks for what came before it."""

    family: str
    """Whose records may be it: the second token of their subjects."""
    counts: Callable[[RawRecord], bool] = lambda _: True
    """Which of these are it."""

    @property
    def pattern(self) -> str:
        """The subjects of the family."""
        return subjects.control_of_family(self.family)

    def is_met_by(self, raw: RawRecord) -> bool:
        """Whether this record of the control plane is such a one."""
        return raw.subject.startswith(self.pattern.removesuffix(">")) and self.counts(raw)


@dataclass(frozen=True, slots=True)
class RecordSubscription:
    """Records of a stream and who handles them."""

    consumer: DurableSpec
    handle: Handle
    in_flight_max: int = 16
    """Records that this process handles at once."""
    need: Need | None = None
    """Until it is met there is no consumer, which would cost something with every record; None: always needed."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What every reactor works with."""

    connection: Connection
    control: ControlLog
    sessions: SessionLog
    blobs: BlobStore
    aggregates: Aggregates
    models: ModelConfigs
    clock: Clock
    ids: IdSource
    settings: AutomationSettings


class Reactor(Protocol):
    """One part of the automation."""

    def subscriptions(self) -> Sequence[RecordSubscription]:
        """The records that it wants to see. Their consumers are declared before ``start``."""

    async def start(self) -> None:
        """Begin. Records are delivered after this has returned."""

    async def drain(self) -> None:
        """Take in nothing more and let go of what is in flight. No record is delivered any more."""

    async def stop(self) -> None:
        """Close everything; called once, also after a failed start."""
