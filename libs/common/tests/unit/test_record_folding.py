"""Folding from parsed JSON gives what decoding and folding gives, on random stories and for every kind of event."""

import itertools
import json
from functools import reduce
from pathlib import Path
from typing import Any

import orjson
import pytest

from efferent.common import codec
from efferent.common.domain.evolve import evolve, fold, fold_events
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.record_folding import _EVENTS, TIME_ONLY, facts_of, fold_facts
from efferent.common.testing.specification import Story, call, message, say, toolset

GOLDEN = Path(__file__).parents[4] / "tests" / "golden" / "events" / "v1"


def story() -> Story:
    made = Story([toolset()]).create()
    for number in range(3):
        made.send(message(f"question {number}"), key=f"key-{number}")
        made.claim()
        made.reply(say("I look."), call("bash"))
        made.result(made.state.calls[0].id)
        made.fail()
        made.retry()
        made.reply(say("done"))
    return made


def entries_of(made: Story) -> list[list[dict[str, Any]]]:
    return [orjson.loads(codec.encode(record))["entries"] for record in made.records]


def folded(state: SessionState | None, entries: list[dict[str, Any]]) -> SessionState | None:
    [facts] = facts_of([entries])
    assert facts is not None
    return fold_facts(state, facts)


def test_a_story_folds_to_the_same_state_at_every_record() -> None:
    made, quick = story(), None
    for index, entries in enumerate(entries_of(made), start=1):
        quick = folded(quick, entries)
        assert quick == fold(None, made.records[:index])
    assert quick == made.state


def test_folding_events_together_is_folding_them_one_by_one() -> None:
    made = story()
    assert fold_events(None, made.events) == reduce(evolve, made.events, None) == made.state


@pytest.mark.parametrize("name", sorted(TIME_ONLY))
def test_facts_that_only_tell_the_time_change_nothing_else(name: str) -> None:
    raw = json.loads((GOLDEN / f"{name}.json").read_text())
    raw = raw["entries"][0]["event"]
    late = Timestamp("2999-01-01T00:00:00.000000Z")
    [event] = _EVENTS.validate_python([raw | {"processed_at": late}])
    for state in (made := story()).state, fold(None, made.records[:3]):
        assert isinstance(state, SessionState)
        assert evolve(state, event) == replace(state, last_at=late)
        assert folded(state, [{"event": raw | {"processed_at": late}}]) == replace(state, last_at=late)


def test_records_that_are_decoded_together_are_those_decoded_one_by_one() -> None:
    together = entries_of(story())
    assert facts_of(together) == [*itertools.chain(*(facts_of([entries]) for entries in together))]


@pytest.mark.parametrize("entry", [{}, {"event": {}}, {"event": {"type": "no.such_event"}}, {"event": 5}])
def test_what_is_no_event_is_unreadable_and_spoils_no_other_record(entry: dict[str, Any]) -> None:
    first, second, *_ = entries_of(story())
    assert facts_of([first, [entry], second]) == [*facts_of([first]), None, *facts_of([second])]
