"""Dreams: what each status allows, whatever is asked in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import SetFacts
from efferent.common.domain.control.dream import (
    DREAM,
    ArchiveDream,
    CancelDream,
    CompleteDream,
    CountDream,
    CreateDream,
    DreamCommand,
    FailDream,
    StartDream,
    decide,
)
from efferent.common.domain.ids import DreamId, SessionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.dream import (
    Dream,
    DreamError,
    DreamModel,
    DreamUsage,
    OutputBehavior,
    UpdateExisting,
)

STORE = "memstore_a"
NOW = timestamp.from_epoch_us(1_800_000_000_000_000)
ERROR = DreamError(type="timeout", message="too long")


def create(*session_ids: str, behavior: OutputBehavior | None = None, instructions: str | None = None) -> CreateDream:
    more = {} if behavior is None else {"output_behavior": behavior}
    return CreateDream(
        DreamId("drm_a"), STORE, session_ids or ("sesn_a",), DreamModel(id="offline/demo"), instructions, **more
    )


def made(command: DreamCommand, current: Dream | None = None) -> Dream:
    change = decide(current, command, NOW)
    assert change is not None
    return change.data


def test_a_new_dream_waits_and_lists_its_sessions_in_order() -> None:
    dream = made(create("sesn_b", "sesn_a"))
    assert (dream.status, dream.outputs, dream.session_id, dream.ended_at) == ("pending", (), None, None)
    assert dream.session_ids == ("sesn_a", "sesn_b")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (create(*[f"sesn_{number}" for number in range(101)]), "1 to 100"),
        (create("sesn_a", "sesn_a"), "distinct"),
        (create(behavior=UpdateExisting(memory_store_id="memstore_b")), "must be the memory store of the inputs"),
    ],
)
def test_a_dream_that_cannot_be_is_refused(command: CreateDream, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        decide(None, command, NOW)
    assert made(create(*[f"sesn_{number}" for number in range(100)])).status == "pending"


def test_two_dreams_do_not_write_into_one_store() -> None:
    admit = DREAM.admit
    assert admit is not None
    writing = made(create(behavior=UpdateExisting(memory_store_id=STORE)))
    with pytest.raises(Conflict):
        admit(writing, SetFacts(holder="drm_b"))
    admit(writing, SetFacts())
    assert DREAM.unique_name(writing) == STORE
    assert DREAM.unique_name(made(CancelDream(), writing)) is None
    assert DREAM.unique_name(made(create())) is None


def test_what_is_asked_of_no_dream_is_not_found() -> None:
    for command in (CancelDream(), ArchiveDream(), StartDream(SessionId("sesn_x"), STORE)):
        with pytest.raises(NotFound):
            decide(None, command, NOW)


def test_an_ended_dream_is_archived_and_not_canceled() -> None:
    completed = made(CompleteDream(DreamUsage(input_tokens=5)), made(create()))
    with pytest.raises(InvalidRequest, match="completed"):
        decide(completed, CancelDream(), NOW)
    archived = made(ArchiveDream(), completed)
    assert archived.archived_at == NOW
    assert decide(archived, ArchiveDream(), NOW) is None
    canceled = made(CancelDream(), made(create()))
    assert decide(canceled, CancelDream(), NOW) is None
    with pytest.raises(InvalidRequest, match="running"):
        decide(made(StartDream(SessionId("sesn_x"), STORE), made(create())), ArchiveDream(), NOW)


COMMANDS = st.sampled_from(
    [
        StartDream(SessionId("sesn_x"), "memstore_new"),
        CountDream(DreamUsage(input_tokens=1)),
        CompleteDream(DreamUsage(input_tokens=2)),
        FailDream(ERROR),
        CancelDream(),
        ArchiveDream(),
    ]
)


@given(st.lists(COMMANDS, max_size=12))
def test_an_ended_dream_never_changes_but_for_its_archiving(commands: list[DreamCommand]) -> None:
    dream = made(create())
    for command in commands:
        before = dream
        try:
            change = decide(before, command, NOW)
        except Refused:
            continue
        if change is None:
            continue
        dream = change.data
        if not before.is_live:
            assert isinstance(command, ArchiveDream)
            assert dream == before.model_copy(update={"archived_at": NOW})
        assert (dream.ended_at is None) == dream.is_live
        assert (dream.error is not None) == (dream.status == "failed")
        assert (dream.session_id is None) == (dream.outputs == ())
        assert dream.archived_at is None or not dream.is_live
