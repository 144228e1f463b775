"""Reading a record only as far as needed gives what decoding and folding gives, whatever the session goes through."""

import contextlib
import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, cast, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from efferent.common import codec
from efferent.common.domain.events import Event, InternalEvent, PublicEvent
from efferent.common.domain.evolve import evolve, fold, fold_events
from efferent.common.domain.refusals import Refused
from efferent.common.domain.replacing import replace
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import LogUnreadable
from efferent.common.record_folding import FREQUENT, TIME_ONLY, Fact, fold_records, sort_record
from efferent.common.testing.specification import Story, call, message, say, toolset

GOLDEN = Path(__file__).parents[4] / "tests" / "golden" / "events" / "v1"
LATE = Timestamp("2999-01-01T00:00:00.000000Z")
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
MODELS = {model.model_fields["type"].default: model for model in get_args(PublicEvent | InternalEvent)}
LEFT_OUT = {
    "agent.message": {"content"},
    "agent.tool_result": {"content", "is_error"},
    "agent.tool_use": {"session_thread_id"},
    "internal.input_queued": {"id"},
    "internal.model_request_priced": {"id", "model"},
    "internal.session_created": {"id"},
    "internal.turn_claimed": {"id"},
    "session.status_idle": {"id", "stop_details"},
    "session.status_running": {"id"},
    "span.model_request_end": {"id", "model_request_start_id"},
    "span.model_request_start": set[str](),
    "system.message": {"content"},
    "user.message": {"content"},
}
"""Fields of frequent facts that the state never keeps: written down here, so that a new one is thought about."""


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


def written(*events: dict[str, Any]) -> bytes:
    return orjson.dumps({"v": codec.VERSION, "id": "rec_1", "entries": [{"event": event} for event in events]})


def folded(state: SessionState | None, *payloads: bytes) -> SessionState | None:
    return fold_records(state, [sort_record(payload) for payload in payloads])


def golden(name: str) -> dict[str, Any]:
    """An example of this type, later than everything else."""
    [entry] = json.loads((GOLDEN / f"{name}.json").read_text())["entries"]
    return {**entry["event"], "processed_at": LATE}


def test_a_story_folds_to_the_same_state_at_every_record() -> None:
    made, quick = story(), None
    for index, record in enumerate(made.records, start=1):
        quick = folded(quick, codec.encode(record))
        assert quick == fold(None, made.records[:index])
    assert quick == made.state


def test_folding_together_is_folding_one_by_one() -> None:
    made = story()
    assert fold_events(None, made.events) == reduce(evolve, made.events, None) == made.state
    payloads = [codec.encode(record) for record in made.records]
    for split in range(1, len(payloads)):
        assert folded(folded(None, *payloads[:split]), *payloads[split:]) == made.state


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_kind_of_event_changes_the_state_as_the_whole_event_does(name: str) -> None:
    raw = golden(name)
    event = EVENT.validate_python(raw)
    made = story()
    for count in range(len(made.records) + 1):
        state = fold(None, made.records[:count])
        assert folded(state, written(raw)) == evolve(state, event)


@pytest.mark.parametrize("name", sorted(TIME_ONLY))
def test_facts_that_only_tell_the_time_change_nothing_else(name: str) -> None:
    for state in (made := story()).state, fold(None, made.records[:3]):
        assert isinstance(state, SessionState)
        assert evolve(state, EVENT.validate_python(golden(name))) == replace(state, last_at=LATE)


@pytest.mark.parametrize("kind", FREQUENT, ids=lambda kind: kind.type)
def test_a_frequent_fact_has_every_field_that_a_state_may_need(kind: type[Fact]) -> None:
    assert {"type", *kind.__struct_fields__, *LEFT_OUT[kind.type]} == set(MODELS[kind.type].model_fields)
    whole = EVENT.validate_python(golden(kind.type))
    [fact] = sort_record(written(golden(kind.type))).facts
    assert type(fact) is kind
    fold_records(None, [sorted_ := sort_record(written(golden(kind.type)))])
    for name in set(kind.__struct_fields__) - {"model_usage"}:
        assert getattr(sorted_.facts[0], name) == getattr(whole, name)


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_is_left_out_of_a_frequent_fact_changes_no_state(name: str) -> None:
    made, whole = story(), EVENT.validate_python(golden(name))
    other: dict[str, Any] = {"content": (), "is_error": True, "id": "sevt_other", "model": "other"}
    for count in range(1, len(made.records) + 1):
        state = fold(None, made.records[:count])
        for field in LEFT_OUT[name]:
            changed = whole.model_copy(update={field: other.get(field)})
            assert evolve(state, changed) == evolve(state, whole)


def test_parts_that_are_written_alike_are_decoded_once() -> None:
    payload = written(golden("internal.session_created"))
    states = [cast("SessionState", folded(None, payload)) for _ in range(2)]
    assert states[0] == states[1]
    assert states[0].agent is states[1].agent
    raw = golden("internal.session_created")
    raw["agent"]["system"] = "x" * 40_000
    long = [cast("SessionState", folded(None, written(raw))) for _ in range(2)]
    assert long[0] == long[1]
    assert long[0].agent is not long[1].agent


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": 5},
        {"type": "user.message"},
        {"type": "no.such_event", "processed_at": "now"},
        {"type": "session.usage", "processed_at": 5},
        {"type": "user.message", "id": 5, "processed_at": "now"},
        {"type": "user.message", "id": "sevt_1", "content": [[]] * 3, "processed_at": None},
    ],
)
def test_what_is_no_event_cannot_be_read(event: dict[str, Any]) -> None:
    with pytest.raises(LogUnreadable, match="not a record"):
        sort_record(written(event))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"5",
        b'{"v":1}',
        b'{"v":1,"entries":[5]}',
        b'{"v":1,"entries":[{"event":5}]}',
        b'{"v":1,"entries":[{"event":{"type":"user.message","processed_at":"\xff","id":"x"}}]}',
        b'{"v":1,"entries":[{"event":{"type":"user.message","content":' + b"[" * 100_000,
    ],
)
def test_what_is_no_record_cannot_be_read(payload: bytes) -> None:
    with pytest.raises(LogUnreadable, match="not a record"):
        sort_record(payload)


def test_a_record_of_another_version_cannot_be_read() -> None:
    with pytest.raises(LogUnreadable, match="a record of version 2; this release knows 1"):
        sort_record(b'{"v":2,"entries":[]}')


@pytest.mark.parametrize(
    "event",
    [
        {"type": "internal.input_queued", "id": "sevt_1", "event": {"type": "no.such"}, "processed_at": "now"},
        {"type": "session.updated", "id": "sevt_1", "title": 5, "processed_at": "now"},
    ],
)
def test_what_is_only_read_when_it_is_folded_is_unreadable_then(event: dict[str, Any]) -> None:
    record = sort_record(written(event))
    with pytest.raises(LogUnreadable, match="no known shape"):
        fold_records(story().state, [record])


def test_clients_see_what_is_not_internal_and_each_fact_is_either_folded_or_only_tells_the_time() -> None:
    for record, entries in zip((made := story()).records, entries_of(made), strict=True):
        listed, facts, latest, _ = sort_record(codec.encode(record))
        assert listed == [
            (index, event["type"], entry["thread"], event["processed_at"])
            for index, entry in enumerate(entries)
            if not (event := entry["event"])["type"].startswith("internal.")
        ]
        times = [entry["event"]["processed_at"] for entry in entries if entry["event"]["type"] in TIME_ONLY]
        assert latest == max(times, default="")
        types = [entry["event"]["type"] for entry in entries]
        assert [fact.type for fact in facts] == [name for name in types if name not in TIME_ONLY]


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
    for record in made.records:
        before = quick
        kept = replace(before) if before is not None else None
        quick = folded(before, codec.encode(record))
        assert before == kept, "the state given in was changed"
    assert quick == made.state == fold(None, made.records)
    assert quick == folded(None, *map(codec.encode, made.records))
