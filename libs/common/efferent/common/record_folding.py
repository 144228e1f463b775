"""Reads a record no further than lists and folded states need it: for those who follow every record of every session.

The result is that of decoding the whole record and folding it. What makes it quicker: one pass over the payload gives
the plain fields of the frequent facts, content that the state does not keep is stepped over, facts that only tell the
time are no more than that, and what many sessions share (their agent, their environment) is decoded once.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal, NamedTuple, Union, cast, get_args

import msgspec
from pydantic import TypeAdapter, ValidationError

from efferent.common.codec import VERSION
from efferent.common.domain.events import Event, InternalEvent, PublicEvent
from efferent.common.domain.events.agent import Evaluation
from efferent.common.domain.events.stop import StopReason
from efferent.common.domain.events.user import QueuedInput
from efferent.common.domain.evolve import fold_events
from efferent.common.domain.ids import BrainId, ClaimId, EnvironmentId, EventId, SessionId, ThreadId, WorkspaceId
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import EnvironmentConfig
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit
from efferent.common.ports import LogUnreadable

TIME_ONLY: Final = frozenset(
    {
        "agent.thinking",
        "internal.model_thought",
        "session.thread_status_idle",
        "session.thread_status_running",
        "session.usage",
    }
)
"""Frequent facts of which the state keeps nothing but when they happened; ``test_record_folding.py`` holds it so."""

_SHARED_MAX: Final = 256
_SHARED_BYTES_MAX: Final = 32 * 1024
"""How many decoded parts are kept for facts with the very same part, and how long each may be."""

_EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Event)
_QUEUED_INPUT: Final[TypeAdapter[QueuedInput]] = TypeAdapter(QueuedInput)

_Decode = Callable[[bytes], object]


def _shared(kind: Any) -> _Decode:
    """Decodes the same bytes only once while they are asked for often: what comes of them is immutable."""
    decode: _Decode = TypeAdapter(kind).validate_json
    kept = lru_cache(maxsize=_SHARED_MAX)(decode)
    return lambda data: kept(data) if len(data) <= _SHARED_BYTES_MAX else decode(data)


class Fact(msgspec.Struct, tag_field="type", gc=False):
    """An event as far as it was read: folding takes it for the event whose fields it has."""

    processed_at: Timestamp
    type: ClassVar[str]
    is_public: ClassVar[bool]
    is_time_only: ClassVar[bool]
    is_whole: ClassVar[bool]
    """Whether the state needs nothing that is not among its fields."""
    parts: ClassVar[Mapping[str, _Decode]] = {}
    """Fields that stay as they were written until they are needed, with what decodes them."""


class _AgentMessage(Fact, tag="agent.message", gc=False):
    id: EventId


class _AgentToolUse(Fact, tag="agent.tool_use", gc=False):
    id: EventId
    name: str
    input: dict[str, Any]
    evaluated_permission: Literal["allow", "ask", "deny"]
    evaluation: msgspec.Raw = msgspec.Raw(b"null")
    parts: ClassVar = {"evaluation": _shared(Evaluation | None)}


class _AgentToolResult(Fact, tag="agent.tool_result", gc=False):
    id: EventId
    tool_use_id: EventId


class _UserMessage(Fact, tag="user.message", gc=False):
    id: EventId


class _SystemMessage(Fact, tag="system.message", gc=False):
    id: EventId


class _StatusRunning(Fact, tag="session.status_running", gc=False):
    pass


class _StatusIdle(Fact, tag="session.status_idle", gc=False):
    stop_reason: msgspec.Raw
    parts: ClassVar = {"stop_reason": _shared(StopReason)}


class _RequestStart(Fact, tag="span.model_request_start", gc=False):
    id: EventId


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class _RequestEnd(Fact, tag="span.model_request_end", gc=False):
    is_error: bool | None
    model_usage: _Usage


class _RequestPriced(Fact, tag="internal.model_request_priced", gc=False):
    list_cost_micro_usd: int | None


class _TurnClaimed(Fact, tag="internal.turn_claimed", gc=False):
    claim_id: ClaimId
    brain_id: BrainId


class _InputQueued(Fact, tag="internal.input_queued", gc=False):
    event: msgspec.Raw
    parts: ClassVar = {"event": _QUEUED_INPUT.validator.validate_json}


class _SessionCreated(Fact, tag="internal.session_created", gc=False, kw_only=True):
    session_id: SessionId
    workspace_id: WorkspaceId
    primary_thread_id: ThreadId
    agent: msgspec.Raw
    environment_id: EnvironmentId
    environment_config: msgspec.Raw
    title: str | None = None
    metadata: dict[str, str] = {}
    vault_ids: tuple[str, ...] = ()
    deployment_id: str | None = None
    budget: msgspec.Raw = msgspec.Raw(b"null")
    parts: ClassVar = {
        "agent": _shared(AgentSnapshot),
        "environment_config": _shared(EnvironmentConfig),
        "budget": _shared(BudgetLimit | None),
    }


FREQUENT: Final[tuple[type[Fact], ...]] = (
    _AgentMessage,
    _AgentToolResult,
    _AgentToolUse,
    _InputQueued,
    _RequestEnd,
    _RequestPriced,
    _RequestStart,
    _SessionCreated,
    _StatusIdle,
    _StatusRunning,
    _SystemMessage,
    _TurnClaimed,
    _UserMessage,
)
"""Facts that are read field by field. Records with any other are decoded as a whole, those of ``TIME_ONLY`` apart."""


def _fact_types() -> tuple[type[Fact], ...]:
    """One for each type of event, so that every record can be read."""
    public, frequent = get_args(PublicEvent), {str(kind.__struct_config__.tag): kind for kind in FREQUENT}
    kinds: list[type[Fact]] = []
    kind: Any
    for model in get_args(PublicEvent | InternalEvent):
        name: str = model.model_fields["type"].default
        kind = frequent.get(name) or msgspec.defstruct(model.__name__, (), bases=(Fact,), tag=name, gc=False)
        kind.type = name
        kind.is_public = model in public
        kind.is_time_only = name in TIME_ONLY
        kind.is_whole = name in frequent or name in TIME_ONLY
        kinds.append(kind)
    return tuple(kinds)


class _Entry(msgspec.Struct, gc=False):
    event: Union[_fact_types()]  # type: ignore[valid-type]  # noqa: UP007
    thread: str | None = None


class _Record(msgspec.Struct, gc=False):
    v: int
    entries: list[_Entry]


class _UnreadEntry(msgspec.Struct, gc=False):
    event: msgspec.Raw


class _UnreadRecord(msgspec.Struct, gc=False):
    entries: list[_UnreadEntry]


_RECORD: Final = msgspec.json.Decoder(_Record)
_UNREAD_RECORD: Final = msgspec.json.Decoder(_UnreadRecord)

ListedEvent = tuple[int, str, str | None, str]
"""What lists and filters need of an event: its entry in the record, type, thread and ``processed_at``."""


class SortedRecord(NamedTuple):
    """A record's entries, sorted by who needs what of them."""

    listed: list[ListedEvent]
    """The events that clients may see, in order."""
    facts: list[Fact]
    """What the state is folded from."""
    latest: Timestamp
    """When the last of the other facts happened, which only tell the time; empty when there are none."""
    payload: bytes | None
    """The record itself when the state needs more of its facts than was read."""


def sort_record(payload: bytes) -> SortedRecord:
    """Read a record's payload, claim check resolved before. Raises LogUnreadable."""
    try:
        record = _RECORD.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LogUnreadable(f"not a record: {error}") from error
    if record.v != VERSION:
        raise LogUnreadable(f"a record of version {record.v}; this release knows {VERSION}")
    listed: list[ListedEvent] = []
    facts: list[Fact] = []
    latest, needed = Timestamp(""), None
    for index, entry in enumerate(record.entries):
        fact: Fact = entry.event
        if fact.is_public:
            listed.append((index, fact.type, entry.thread, fact.processed_at))
        if fact.is_time_only:
            latest = max(latest, fact.processed_at)
        else:
            facts.append(fact)
            if not fact.is_whole:
                needed = payload
    return SortedRecord(listed, facts, latest, needed)


def fold_records(state: SessionState | None, records: Sequence[SortedRecord]) -> SessionState | None:
    """The state after these records of one session, in order. Raises LogUnreadable."""
    facts: list[Event] = []
    try:
        for record in records:
            facts += _read(record.facts) if record.payload is None else _decoded(record.payload)
    except ValidationError as error:
        raise LogUnreadable(f"one of its events has no known shape: {error}") from error
    return fold_events(state, facts, until=max((record.latest for record in records), default=Timestamp("")))


def _read(facts: list[Fact]) -> list[Event]:
    """The facts with all of their parts decoded."""
    for fact in facts:
        for name, decode in fact.parts.items():
            part = getattr(fact, name)
            if isinstance(part, msgspec.Raw):
                setattr(fact, name, decode(bytes(part)))
    return cast("list[Event]", facts)


def _decoded(payload: bytes) -> list[Event]:
    """The record's events, those of ``TIME_ONLY`` among them."""
    return [_EVENT.validate_json(bytes(entry.event)) for entry in _UNREAD_RECORD.decode(payload).entries]
