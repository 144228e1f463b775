"""A dream from its creation to its end, one look at a time; every step may be repeated by anybody."""

import pytest

from efferent.automation.dreams.reactor import KEPT_WITHIN_S
from efferent.automation.dreams.session import output_store_of, session_of
from efferent.common.domain.commands import ArchiveSession, DeleteSession, InterruptDraft, SendEvents, TakeQueuedInput
from efferent.common.domain.control.memory_store import ArchiveMemoryStore, DeleteMemoryStore
from efferent.common.domain.events.stop import RefusalStopDetails
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.resources.dream import DreamUsage, UpdateExisting
from efferent.common.domain.resources.memory import SessionActor
from efferent.common.jetstream import subjects
from efferent.common.memory.store import MEMORY_STORES, Author
from services.automation.tests.dreams.dream_rig import DreamStage
from services.automation.tests.log_stage import WORKSPACE

DREAMT = DreamUsage(input_tokens=10, output_tokens=5, cache_creation_input_tokens=3, cache_read_input_tokens=2)


async def test_it_begins_with_a_copy_of_the_store_and_ends_with_its_session(dreaming: DreamStage) -> None:
    store_id = await dreaming.store(tea="green", dogs="two")
    dream = await dreaming.look(await dreaming.make(store_id))
    assert (dream.status, dream.session_id) == ("running", session_of(dream))
    (output,) = dream.outputs
    assert await dreaming.contents(output.memory_store_id) == {"/tea.md": "green", "/dogs.md": "two"}
    state = await dreaming.state(dream)
    assert [held.resource.memory_store_id for held in state.resources if held.resource.type == "memory_store"] == [
        output.memory_store_id
    ]
    await dreaming.answered(dream)
    await dreaming.acknowledge()
    dream = await dreaming.look(dream)
    assert (dream.status, dream.usage, dream.error) == ("completed", DREAMT, None)
    assert dreaming.is_done
    assert (await dreaming.state(dream)).archived_at is not None


async def test_it_is_not_over_before_its_memories_are_kept(dreaming: DreamStage) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    await dreaming.answered(dream)
    dream = await dreaming.look(dream)
    assert (dream.status, dream.usage) == ("running", DREAMT)
    dreaming.clock.advance(KEPT_WITHIN_S + 1)  # a brain that keeps other sessions' input for long hides it for ever
    assert (await dreaming.look(dream)).status == "completed"


async def test_work_that_was_done_before_its_session_was_archived_counts(dreaming: DreamStage) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    await dreaming.answered(dream)
    await dreaming.play(session_of(dream), ArchiveSession())  # a replica died after this, or a client did it
    await dreaming.acknowledge()
    dream = await dreaming.look(dream, dreaming.another())
    assert (dream.status, dream.usage, dream.error) == ("completed", DREAMT, None)
    assert dreaming.is_done


async def test_each_step_may_be_repeated_by_another_replica(dreaming: DreamStage) -> None:
    store_id = await dreaming.store(tea="green")
    created = await dreaming.make(store_id)
    await dreaming.look(created)
    _, began = await dreaming.folded(session_of(created))
    again = await dreaming.look(created, dreaming.another())
    _, then = await dreaming.folded(session_of(created))
    assert (again.status, then) == ("running", began)
    await dreaming.answered(created)
    await dreaming.acknowledge()
    await dreaming.look(created, dreaming.another())
    once = await dreaming.look(created)
    assert once.status == "completed"
    assert once == await dreaming.look(created, dreaming.another())


async def test_a_session_that_was_deleted_before_the_dream_could_name_it_is_not_made_again(
    dreaming: DreamStage,
) -> None:
    created = await dreaming.make(await dreaming.store(tea="green"))
    await dreaming.control.append(subjects.tombstone(session_of(created)), b"{}", expected=0)
    assert (await dreaming.look(created)).status == "running"
    assert await dreaming.sessions.last_sequence(session_of(created)) == 0
    assert (await dreaming.look(created)).status == "failed"


async def test_a_copy_that_was_half_made_is_completed(dreaming: DreamStage) -> None:
    store_id = await dreaming.store(tea="green", dogs="two")
    created = await dreaming.make(store_id)
    await dreaming.look(created)
    copy_id = output_store_of(created)
    first = (await dreaming.stores.memories(WORKSPACE, copy_id))[0]
    author = Author(dreaming.actor, SessionActor(session_id=session_of(created)))
    await dreaming.stores.delete(author, copy_id, first.id)  # as if it had not been copied yet
    assert len(await dreaming.contents(copy_id)) == 1
    await dreaming.reactor._inputs.output(WORKSPACE, created)
    assert await dreaming.contents(copy_id) == {"/tea.md": "green", "/dogs.md": "two"}


async def test_canceled_before_it_began_nothing_is_made(dreaming: DreamStage) -> None:
    dream = await dreaming.make(await dreaming.store())
    await dreaming.cancel(dream)
    await dreaming.look(dream)
    assert dreaming.is_done
    assert not await dreaming.sessions.last_sequence(session_of(dream))


async def test_canceled_its_session_is_interrupted_once_and_archived(dreaming: DreamStage) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    claim_id, _ = await dreaming.began(dream)
    await dreaming.cancel(dream)
    for _ in range(2):
        await dreaming.look(dream)
        assert not dreaming.is_done
    assert [item.type for item in (await dreaming.state(dream)).queue] == ["user.interrupt"]
    await dreaming.play(session_of(dream), TakeQueuedInput(claim_id))
    await dreaming.acknowledge()
    dream = await dreaming.look(dream)
    assert dreaming.is_done
    assert dream.status == "canceled"
    assert (await dreaming.state(dream)).archived_at is not None


async def test_a_client_that_interrupts_the_session_ends_the_dream(dreaming: DreamStage) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    claim_id, _ = await dreaming.began(dream)
    await dreaming.play(session_of(dream), SendEvents(events=(InterruptDraft(),)))
    await dreaming.play(session_of(dream), TakeQueuedInput(claim_id))
    await dreaming.acknowledge()
    assert (await dreaming.look(dream)).status == "completed"


async def test_it_fails_after_its_time(dreaming: DreamStage) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    dreaming.clock.advance(3_601)
    dream = await dreaming.look(dream)
    assert dream.status == "failed"
    assert dream.error is not None
    assert dream.error.type == "timeout"


async def test_it_fails_after_its_time_also_when_it_never_began(dreaming: DreamStage) -> None:
    dream = await dreaming.make(await dreaming.store())
    dreaming.clock.advance(3_601)
    dream = await dreaming.look(dream)
    assert dream.error is not None
    assert (dream.status, dream.error.type) == ("failed", "timeout")
    assert dreaming.is_done


@pytest.mark.parametrize("how", ["refused", "failed", "deleted"])
async def test_a_session_that_does_not_do_its_work_fails_it(dreaming: DreamStage, how: str) -> None:
    dream = await dreaming.look(await dreaming.make(await dreaming.store()))
    if how == "refused":
        await dreaming.answered(dream, refusal=RefusalStopDetails())
    elif how == "failed":
        await dreaming.failed(dream)
    else:
        await dreaming.answered(dream)
        await dreaming.play(session_of(dream), DeleteSession())
    await dreaming.acknowledge()
    dream = await dreaming.look(dream)
    assert dream.error is not None
    assert (dream.status, dream.error.type) == ("failed", "internal_error")


@pytest.mark.parametrize("command", [ArchiveMemoryStore(), DeleteMemoryStore()])
async def test_a_store_that_went_away_fails_it(
    dreaming: DreamStage, command: ArchiveMemoryStore | DeleteMemoryStore
) -> None:
    store_id = await dreaming.store()
    dream = await dreaming.make(store_id)
    await MEMORY_STORES.change(dreaming.aggregates, dreaming.actor, store_id, command)
    dream = await dreaming.look(dream)
    assert dream.error is not None
    assert (dream.status, dream.error.type) == ("failed", "input_memory_store_unavailable")


@pytest.mark.parametrize("whose", ["deleted", "of another workspace"])
async def test_a_session_that_cannot_be_read_fails_it(dreaming: DreamStage, whose: str) -> None:
    session_id = await dreaming.session(WORKSPACE if whose == "deleted" else WorkspaceId("wrkspc_other"))
    dream = await dreaming.make(await dreaming.store(), session_id)
    if whose == "deleted":
        await dreaming.sessions.purge(session_id)
    dream = await dreaming.look(dream)
    assert dream.error is not None
    assert (dream.status, dream.error.type) == ("failed", "input_session_unavailable")
    assert session_id in dream.error.message


async def test_a_store_is_read_up_to_its_limit(dreaming: DreamStage) -> None:
    reactor = dreaming.another(store_bytes_max=10)
    fits, too_large = await dreaming.store(a="12345", b="12345"), await dreaming.store(a="12345", b="123456")
    behaviors = [UpdateExisting(memory_store_id=store_id) for store_id in (fits, too_large)]
    dreams = [
        await dreaming.look(await dreaming.make(store_id, output_behavior=behavior), reactor)
        for store_id, behavior in zip((fits, too_large), behaviors, strict=True)
    ]
    assert [dream.status for dream in dreams] == ["running", "failed"]
    assert dreams[1].error is not None
    assert dreams[1].error.type == "input_memory_store_too_large"


async def test_more_dreams_than_sessions_are_kept_are_still_followed(dreaming: DreamStage) -> None:
    reactor = dreaming.another(sessions_kept_max=1)
    dreams = [await dreaming.look(await dreaming.make(await dreaming.store()), reactor) for _ in range(2)]
    for dream in dreams:
        await dreaming.look(dream, reactor)
        await dreaming.answered(dream)
    await dreaming.acknowledge()
    assert [(await dreaming.look(dream, reactor)).status for dream in dreams] == ["completed", "completed"]
