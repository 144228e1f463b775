"""Every subject and stream name, built and parsed. The only module that knows how they are written."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from efferent.common.domain.ids import BrainId, EnvironmentId, SessionId, WorkId
from efferent.common.domain.record import Side

SESSIONS: Final = "SESSIONS"
CONTROL: Final = "CONTROL"
TOMBSTONE_KIND: Final = "session"
"""First token of the subjects of deleted sessions in ``CONTROL``."""
WORK: Final = "WORK"
KEYS: Final = "KEYS"
LEASES: Final = "LEASES"
Stream = Literal["SESSIONS", "CONTROL", "WORK", "KEYS", "LEASES", "WEBHOOKS", "WEBHOOK_FAILURES"]

SESSION_SUBJECTS: Final = ("session.*.in", "session.*.out")
CONTROL_SUBJECTS: Final = ("control.>",)
WORK_SUBJECTS: Final = ("work.*.*.*",)
KEYS_SUBJECTS: Final = ("key.*.*",)
WEBHOOKS: Final = "WEBHOOKS"
WEBHOOKS_SUBJECTS: Final = ("webhook.*",)
WEBHOOK_FAILURES: Final = "WEBHOOK_FAILURES"
WEBHOOK_FAILURES_SUBJECTS: Final = ("webhook_failures.*",)
LEASES_SUBJECTS: Final = ("lease.*",)
PROBES: Final[Mapping[Stream, str]] = MappingProxyType(
    {
        SESSIONS: "session.probe.in",
        CONTROL: "control.probe.never",
        WORK: "work.probe.probe.probe",
        KEYS: "key.probe.probe",
    }
)
"""For each stream that gateways append to: a subject that nothing is ever written to."""
ON_DISK: Final = (SESSIONS, CONTROL, WORK, KEYS, WEBHOOKS, WEBHOOK_FAILURES)
"""The streams that hold the state of a server; what is in memory is about the present."""
SESSIONS_IN: Final = "session.*.in"

_LIVE: Final = "live."
_TOKEN_FORBIDDEN: Final = frozenset(" .*>\t\r\n")


class BadSubject(ValueError):
    """A text that cannot be a subject or one token of it."""


def session(session_id: SessionId, side: Side) -> str:
    """Where records of this side of the session go."""
    return f"session.{_token(session_id)}.{side}"


def session_fence(session_id: SessionId) -> str:
    """Everything of one session: the fence of its appends and the pattern of its reads."""
    return f"session.{_token(session_id)}.*"


def parse_session(subject: str) -> tuple[SessionId, Side]:
    """Session and side of a subject of ``SESSIONS``. Raises BadSubject."""
    root, _, rest = subject.partition(".")
    session_id, _, side = rest.partition(".")
    if root == "session" and side == "out":
        return SessionId(session_id), "out"
    if root == "session" and side == "in":
        return SessionId(session_id), "in"
    raise BadSubject(f"not the subject of a session: {subject}")


def control(kind: str, identifier: str, *, within: str | None = None) -> str:
    """Where an aggregate lives; ``within`` names the set when the set has a rule of its own."""
    middle = "" if within is None else f"{_token(within)}."
    return f"control.{_token(kind)}.{middle}{_token(identifier)}"


def tombstone(session_id: str) -> str:
    """Where it says that a session was deleted; written before anything of the session is removed."""
    return control(TOMBSTONE_KIND, session_id)


def control_fence(kind: str, within: str | None = None) -> str:
    """Everything of one kind, or of one set of that kind."""
    return f"control.{_token(kind)}.*" if within is None else f"control.{_token(kind)}.{_token(within)}.*"


def control_of_family(kind: str) -> str:
    """Everything of one kind, in whichever set."""
    return f"control.{_token(kind)}.>"


def control_in_any_set(kind: str, identifier: str) -> str:
    """Where an aggregate lives whose set is not known."""
    return f"control.{_token(kind)}.*.{_token(identifier)}"


def parse_control(subject: str) -> tuple[str, str | None, str]:
    """Kind, set (None when the subject names none) and id of a subject of ``CONTROL``. Raises BadSubject."""
    match subject.split("."):
        case ["control", kind, identifier]:
            return kind, None, identifier
        case ["control", kind, within, identifier]:
            return kind, within, identifier
        case _:
            raise BadSubject(f"not the subject of an aggregate: {subject}")


def live(subject_or_pattern: str) -> str:
    """Where committed records of this subject are republished."""
    return _LIVE + subject_or_pattern


def parse_live_session(subject: str) -> tuple[SessionId, Side]:
    """Session and side of the subject of a republished record. Raises BadSubject."""
    return parse_session(subject.removeprefix(_LIVE))


def all_of(stream: Stream) -> str:
    """The pattern that matches every subject of a stream."""
    match stream:
        case "SESSIONS":
            return "session.>"
        case "CONTROL":
            return "control.>"
        case "WORK":
            return "work.>"
        case "KEYS":
            return "key.>"
        case "LEASES":
            return "lease.>"
        case "WEBHOOKS":
            return "webhook.*"
        case "WEBHOOK_FAILURES":
            return "webhook_failures.*"


def work(environment_id: EnvironmentId, session_id: SessionId, work_id: WorkId) -> str:
    """Where a work item lives."""
    return f"{work_fence(environment_id, session_id)[:-1]}{_token(work_id)}"


def work_fence(environment_id: EnvironmentId, session_id: SessionId) -> str:
    """All work items of one session: the fence of a new one."""
    return f"work.{_token(environment_id)}.{_token(session_id)}.*"


def work_item(environment_id: EnvironmentId, work_id: WorkId) -> str:
    """The pattern that finds an item of an environment by its id alone."""
    return f"work.{_token(environment_id)}.*.{_token(work_id)}"


def worker_presence(environment_id: EnvironmentId) -> str:
    """Where gateways tell each other which workers poll an environment."""
    return f"presence.worker.{_token(environment_id)}"


WORKERS_ALL: Final = "presence.worker.*"


def parse_worker_presence(subject: str) -> EnvironmentId:
    """The environment that a subject of worker presence names. Raises BadSubject."""
    match subject.split("."):
        case ["presence", "worker", environment_id]:
            return EnvironmentId(environment_id)
        case _:
            raise BadSubject(f"not the subject of an environment's workers: {subject}")


def data_key(owner: str, key_id: str) -> str:
    """Where a wrapped data key of a secret lives."""
    return f"key.{_token(owner)}.{_token(key_id)}"


def data_keys_of(owner: str) -> str:
    """All data keys of one owner."""
    return f"key.{_token(owner)}.*"


def parse_data_key(subject: str) -> tuple[str, str]:
    """Owner and id of a data key's subject. Raises BadSubject."""
    match subject.split("."):
        case ["key", owner, key_id]:
            return owner, key_id
        case _:
            raise BadSubject(f"not the subject of a data key: {subject}")


def lease(name: str) -> str:
    """Where the holder of a lease is written."""
    return f"lease.{_token(name)}"


def webhook(endpoint_id: str) -> str:
    """Where deliveries to a webhook endpoint wait."""
    return f"webhook.{_token(endpoint_id)}"


def webhook_failures(endpoint_id: str) -> str:
    """Where it stands how long a webhook endpoint has been failing."""
    return f"webhook_failures.{_token(endpoint_id)}"


def delta(session_id: SessionId) -> str:
    """Where token deltas of a session travel, unpersisted."""
    return f"delta.session.{_token(session_id)}"


def presence(brain_id: BrainId) -> str:
    """Where a brain says that it is alive."""
    return f"presence.brain.{_token(brain_id)}"


PRESENCE_ALL: Final = "presence.brain.*"


def parse_presence(subject: str) -> BrainId:
    """The brain that a presence subject names. Raises BadSubject."""
    match subject.split("."):
        case ["presence", "brain", brain_id]:
            return BrainId(brain_id)
        case _:
            raise BadSubject(f"not the subject of a brain: {subject}")


def _token(text: str) -> str:
    """The text when it can stand as one token: an id with a dot or a wildcard would reach other sessions."""
    if not text or not _TOKEN_FORBIDDEN.isdisjoint(text):
        raise BadSubject(f"not one token of a subject: {text!r}")
    return text
