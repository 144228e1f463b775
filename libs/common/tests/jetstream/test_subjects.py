"""Subjects: what is built can be parsed, and no id can reach beyond its own token."""

from collections.abc import Callable

import pytest

from efferent.common.domain.ids import BrainId, SessionId
from efferent.common.jetstream import subjects
from efferent.common.jetstream.subjects import BadSubject

SESSION = SessionId("sesn_a")


def test_session_subjects_round_trip() -> None:
    assert subjects.parse_session(subjects.session(SESSION, "in")) == (SESSION, "in")
    assert subjects.parse_session(subjects.session(SESSION, "out")) == (SESSION, "out")
    assert subjects.session_fence(SESSION) == "session.sesn_a.*"


def test_control_subjects_round_trip() -> None:
    assert subjects.parse_control(subjects.control("agent", "agent_1")) == ("agent", None, "agent_1")
    in_set = subjects.control("environment", "env_1", within="wrkspc_1")
    assert subjects.parse_control(in_set) == ("environment", "wrkspc_1", "env_1")
    assert subjects.control_fence("environment", "wrkspc_1") == "control.environment.wrkspc_1.*"
    assert subjects.control_fence("agent") == "control.agent.*"


def test_presence_and_live_subjects() -> None:
    assert subjects.parse_presence(subjects.presence(BrainId("brain_a"))) == "brain_a"
    assert subjects.live("control.>") == "live.control.>"
    assert subjects.delta(SESSION) == "delta.session.sesn_a"


@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "a b", "a\r\nPUB x"])
def test_id_that_is_not_one_token_is_refused(bad: str) -> None:
    builders: list[Callable[[], str]] = [
        lambda: subjects.session(SessionId(bad), "in"),
        lambda: subjects.session_fence(SessionId(bad)),
        lambda: subjects.control("agent", bad),
        lambda: subjects.control(bad, "a"),
        lambda: subjects.control("agent", "a", within=bad),
        lambda: subjects.presence(BrainId(bad)),
        lambda: subjects.delta(SessionId(bad)),
    ]
    for build in builders:
        with pytest.raises(BadSubject):
            build()


@pytest.mark.parametrize("foreign", ["session.a", "session.a.sideways", "control", "presence.brain", "session.a.in.b"])
def test_foreign_subject_is_refused(foreign: str) -> None:
    for parse in (subjects.parse_session, subjects.parse_control, subjects.parse_presence):
        with pytest.raises(BadSubject):
            parse(foreign)
