"""Executing commands while others append: nothing lost, nothing decided on a stale state."""

import asyncio
from pathlib import Path

import pytest

from efferent.common.domain.commands import ArchiveSession, ConfirmationDraft, SendEvents, SetTitle, UpdateSession
from efferent.common.domain.events import AgentToolUse, SessionStatusIdle
from efferent.common.domain.events.stop import RequiresAction
from efferent.common.domain.ids import RecordId, SessionId
from efferent.common.domain.record import Record, Side
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import LogConflict
from efferent.gateway.errors import NotFound, Overloaded
from efferent.gateway.sessions.projected import Folded
from efferent.gateway.sessions.store import SessionStore
from services.gateway.tests.session_rig import CLOCK, SEEDS, WORKSPACE, Rig, message, retitled, rig


def stale(made: Rig, session_id: SessionId, folded: Folded) -> None:
    """Make the store know no more than this."""
    made.services.projection.states.forget(session_id)
    made.services.projection.states.put(session_id, folded)


async def test_many_writers_and_a_brain_lose_and_double_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        brain = made.brain(session_id)

        async def retitle() -> None:
            for index in range(20):
                try:
                    await brain.append([retitled(f"{index}")])
                except LogConflict:
                    continue

        sends = [made.create_input(session_id, f"{index}") for index in range(60)]
        await asyncio.gather(retitle(), *sends)
        state = (await made.services.store.load(session_id, WORKSPACE)).state
        texts = [
            block.text
            for item in state.queue
            if item.type == "user.message"
            for block in item.content
            if block.type == "text"
        ]
        assert sorted(texts, key=int) == [str(index) for index in range(60)]


async def test_a_current_state_in_memory_means_one_append_and_no_read(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        counting = CountingLog(made.log)
        store = SessionStore(counting, made.services.projection, CLOCK, SEEDS)
        for _ in range(5):
            await store.execute(session_id, WORKSPACE, SendEvents((message("x"),)))
        assert counting.calls == ["append"] * 5


async def test_a_refusal_on_a_stale_state_is_looked_at_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("go"))
        old = await made.services.store.load(session_id, WORKSPACE)
        await made.brain(session_id).answer("done")
        stale(made, session_id, old)
        # The stale state is running and would refuse; the session is idle by now.
        executed = await made.services.store.execute(session_id, WORKSPACE, ArchiveSession())
        assert executed.decision.state.archived_at is not None


async def test_an_acceptance_on_a_stale_state_is_refused_by_the_fence(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        old = await made.services.store.load(session_id, WORKSPACE)
        await made.services.store.execute(session_id, WORKSPACE, ArchiveSession())
        stale(made, session_id, old)
        with pytest.raises(InvalidRequest, match="is archived"):
            await made.services.store.execute(session_id, WORKSPACE, SendEvents((message("x"),)))


async def test_nothing_to_change_on_a_stale_state_is_looked_at_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        old = await made.services.store.load(session_id, WORKSPACE)
        await made.services.store.execute(session_id, WORKSPACE, UpdateSession(title=SetTitle("new")))
        stale(made, session_id, old)
        executed = await made.services.store.execute(session_id, WORKSPACE, UpdateSession(title=SetTitle(None)))
        assert executed.decision.record is not None


async def test_a_call_that_just_came_can_be_confirmed_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create(message("go"))
        old = await made.services.store.load(session_id, WORKSPACE)
        brain = made.brain(session_id)
        await brain.start_turn()
        (call,) = await brain.append(
            [lambda id, at: AgentToolUse(id=id, name="bash", input={}, evaluated_permission="ask", processed_at=at)]
        )
        reason = RequiresAction(event_ids=(call,))
        await brain.append([lambda id, at: SessionStatusIdle(id=id, stop_reason=reason, processed_at=at)])
        stale(made, session_id, old)
        command = SendEvents((ConfirmationDraft(call, "allow"),))
        assert (await made.services.store.execute(session_id, WORKSPACE, command)).decision.record is not None


async def test_others_being_quicker_for_too_long_is_answered_overloaded(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        store = SessionStore(ContestedLog(made.log), made.services.projection, CLOCK, SEEDS, deadline_s=0.1)
        with pytest.raises(Overloaded):
            await store.execute(session_id, WORKSPACE, SendEvents((message("x"),)))


async def test_a_session_purged_elsewhere_is_not_found_however_fresh_it_is_in_memory(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        session_id = await made.create()
        folded = await made.services.store.load(session_id, WORKSPACE)
        await made.delete(session_id)
        stale(made, session_id, folded)
        with pytest.raises(NotFound):
            await made.services.store.execute(session_id, WORKSPACE, SendEvents((message("x"),)))
        stale(made, session_id, folded)
        with pytest.raises(NotFound):
            await made.services.store.load(session_id, WORKSPACE)


class CountingLog(JetStreamSessionLog):
    """The real log, with a list of what was asked of it."""

    def __init__(self, inner: JetStreamSessionLog) -> None:
        self.__dict__ = dict(inner.__dict__)
        self.calls: list[str] = []

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        self.calls.append("append")
        return await super().append(session_id, side, record, expected=expected)

    async def last_sequence(self, session_id: SessionId) -> int:
        self.calls.append("last_sequence")
        return await super().last_sequence(session_id)


class ContestedLog(JetStreamSessionLog):
    """The real log, where somebody else always appends first."""

    def __init__(self, inner: JetStreamSessionLog) -> None:
        self.__dict__ = dict(inner.__dict__)

    async def append(self, session_id: SessionId, side: Side, record: Record, *, expected: int) -> int:
        other = record.model_copy(update={"id": RecordId(f"rec_{SEEDS.seed()}")})
        await super().append(session_id, "out", other, expected=expected)
        return await super().append(session_id, side, record, expected=expected)
