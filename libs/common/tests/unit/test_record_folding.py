"""Folding from parsed JSON gives what decoding and folding gives, on random stories and for every kind of event."""

import contextlib
import itertools
import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from efferent.common import codec
from efferent.common.domain.content import Shape
from efferent.common.domain.events import Event
from efferent.common.domain.evolve import evolve, fold, fold_events
from efferent.common.domain.refusals import Refused
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import LogUnreadable
from efferent.common.record_folding import (
    _EVENTS,
    TIME_ONLY,
    WITHOUT_CONTENT,
    SortedRecord,
    facts_of,
    fold_facts,
    sort_record,
)
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


def sorted_records(made: Story) -> list[SortedRecord]:
    return [sort_record(entries) for entries in entries_of(made)]


def folded(state: SessionState | None, entries: list[dict[str, Any]]) -> SessionState | None:
    [facts] = facts_of([sort_record(entries)])
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
    together = sorted_records(story())
    assert facts_of(together) == [*itertools.chain(*(facts_of([record]) for record in together))]


@pytest.mark.parametrize("event", [{"type": "no.such_event", "processed_at": "now"}, {"type": "user.message"}])
def test_what_is_no_known_event_is_unreadable_and_spoils_no_other_record(event: dict[str, Any]) -> None:
    first, second, *_ = sorted_records(story())
    assert facts_of([first, SortedRecord([], [event], Timestamp("")), second]) == [
        *facts_of([first]),
        None,
        *facts_of([second]),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"event": {}},
        {"event": 5},
        {"event": {"type": 5}},
        {"event": {"type": "user.message"}},
        {"event": {"type": "session.usage", "processed_at": 5}},
    ],
)
def test_what_is_no_event_cannot_be_sorted(entry: dict[str, Any]) -> None:
    with pytest.raises(LogUnreadable, match="not an event"):
        sort_record([entry])


def test_clients_see_what_is_not_internal_and_each_fact_is_either_decoded_or_only_tells_the_time() -> None:
    for entries in entries_of(story()):
        listed, facts, latest = sort_record(entries)
        assert listed == [
            (index, event["type"], entry["thread"], event["processed_at"])
            for index, entry in enumerate(entries)
            if not (event := entry["event"])["type"].startswith("internal.")
        ]
        times = [entry["event"]["processed_at"] for entry in entries if entry["event"]["type"] in TIME_ONLY]
        assert latest == max(times, default="")
        assert facts == [entry["event"] for entry in entries if entry["event"]["type"] not in TIME_ONLY]


@pytest.mark.parametrize("kind", WITHOUT_CONTENT, ids=lambda kind: kind.__name__)
def test_content_that_is_not_looked_into_changes_no_state(kind: type[Shape]) -> None:
    """The state is that of the event with all of its content, in whatever the session goes through."""
    [entry] = json.loads((GOLDEN / f"{kind.model_fields['type'].default}.json").read_text())["entries"]
    [whole] = TypeAdapter(list[Event]).validate_python([entry["event"]])
    assert type(whole) is kind.__base__
    made = story()
    for count in range(1, len(made.records) + 1):
        state = fold(None, made.records[:count])
        assert folded(state, [entry]) == evolve(state, whole)
        emptied = whole.model_copy(update={"content": ()})
        assert evolve(state, emptied) == evolve(state, whole)


DEEDS: tuple[Callable[[Story], object], ...] = (
    lambda made: made.send(message("question"), key=f"key-{len(made.records)}"),
    lambda made: made.claim(),
    lambda made: made.reply(say("done")),
    lambda made: made.reply(say("I look."), call("bash")),
    lambda made: made.result(made.state.calls[0].id),
    lambda made: made.fail(),
    lambda made: made.retry(),
    lambda made: made.interrupt(),
)


@given(st.lists(st.sampled_from(DEEDS), max_size=25))
def test_whatever_happens_folding_parsed_records_is_folding_decoded_ones(
    deeds: list[Callable[[Story], object]],
) -> None:
    made = Story([toolset()]).create()
    for deed in deeds:
        with contextlib.suppress(Refused, AssertionError, IndexError):  # what cannot happen now is left out
            deed(made)
    quick: SessionState | None = None
    for facts in facts_of(sorted_records(made)):
        assert facts is not None
        before = quick
        kept = replace(before) if before is not None else None
        quick = fold_facts(before, facts)
        assert before == kept, "the state given in was changed"
    assert quick == made.state == fold(None, made.records)
