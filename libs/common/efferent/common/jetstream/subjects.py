"""Every subject and stream name, built and parsed. The only module that knows how they are written."""

from typing import Final, Literal

from efferent.common.domain.ids import BrainId, SessionId
from efferent.common.domain.record import Side

SESSIONS: Final = "SESSIONS"
CONTROL: Final = "CONTROL"
Stream = Literal["SESSIONS", "CONTROL"]

SESSION_SUBJECTS: Final = ("session.*.in", "session.*.out")
CONTROL_SUBJECTS: Final = ("control.>",)
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
    match subject.split("."):
        case ["session", session_id, "in"]:
            return SessionId(session_id), "in"
        case ["session", session_id, "out"]:
            return SessionId(session_id), "out"
        case _:
            raise BadSubject(f"not the subject of a session: {subject}")


def control(kind: str, identifier: str, *, within: str | None = None) -> str:
    """Where an aggregate lives; ``within`` names the set when the set has a rule of its own."""
    middle = "" if within is None else f"{_token(within)}."
    return f"control.{_token(kind)}.{middle}{_token(identifier)}"


def control_fence(kind: str, within: str | None = None) -> str:
    """Everything of one kind, or of one set of that kind."""
    return f"control.{_token(kind)}.*" if within is None else f"control.{_token(kind)}.{_token(within)}.*"


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
    return "session.>" if stream == SESSIONS else "control.>"


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
