"""Budgets in whole turns: the crossing request finishes, the cap holds, and more money resumes the work by itself."""

from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError

from tests.support.playing import Played, bash, confirmation, interrupt, message, of_type, scripted, toolset, types_of

TWO_CENTS = {"input_tokens": 10_000, "output_tokens": 0}
"""At the list price of the model that the tests use."""
PAUSE = ["session.thread_status_idle", "session.usage", "session.status_idle"]


def limit(cents: int) -> Any:
    return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}


def reasons(seen: list[Any]) -> tuple[str, str]:
    thread, session = of_type(seen, "session.thread_status_idle")[-1], of_type(seen, "session.status_idle")[-1]
    return thread.stop_reason.type, session.stop_reason.type


async def test_the_cap_pauses_a_turn_and_raising_it_resumes_the_turn(client: AsyncAnthropic) -> None:
    played = await Played.create(client, budget=limit(2))
    text = scripted({**bash("echo hi"), "usage": TWO_CENTS}, {"text": "done", "usage": TWO_CENTS})
    seen = await played.until_idle(text)
    assert types_of(seen)[-4:] == ["agent.tool_result", *PAUSE]
    assert reasons(seen) == ("budget_reached", "budget_reached")
    usage = of_type(seen, "session.usage")[-1]
    assert usage.budget.max_list_cost.amount == "2"
    assert usage.usage.list_cost.amount == "2"
    with pytest.raises(BadRequestError) as refused:
        await played.send(message("go on"))
    assert "`user.interrupt` may be sent" in str(refused.value)
    before = len(await played.events())
    (ignored,) = await played.send(interrupt())
    assert ignored.type == "user.interrupt"
    with pytest.raises(BadRequestError) as low:
        await client.beta.sessions.update(played.id, budget=limit(2))
    assert "budget_not_raised" in str(low.value)
    assert len(await played.events()) == before
    async with played.watch() as watch:
        raised = await client.beta.sessions.update(played.id, budget=limit(5))
        assert raised.status == "running"
        await watch.until("session.status_idle")
    assert types_of(watch.seen) == [
        "session.updated", "session.status_running", "session.thread_status_running", "span.model_request_start",
        "agent.message", "span.model_request_end", *PAUSE,
    ]  # fmt: skip
    assert reasons(watch.seen) == ("end_turn", "end_turn")
    assert (await played.retrieve()).usage.list_cost.amount == "4"


async def test_the_last_request_may_cross_and_removing_the_budget_frees_the_session(client: AsyncAnthropic) -> None:
    played = await Played.create(client, budget=limit(1))
    seen = await played.until_idle(scripted({"text": "done", "usage": TWO_CENTS}))
    assert reasons(seen) == ("end_turn", "budget_reached")
    freed = await client.beta.sessions.update(played.id, budget=None)
    assert (freed.status, freed.budget) == ("idle", None)
    assert reasons(await played.until_idle(message("more"))) == ("end_turn", "end_turn")


async def test_an_ask_outranks_the_cap_and_its_result_asks_no_model(client: AsyncAnthropic) -> None:
    played = await Played.create(client, budget=limit(1), tools=[toolset("always_ask")])
    seen = await played.until_idle(scripted({**bash("echo hi"), "usage": TWO_CENTS}, {"text": "never"}))
    assert reasons(seen) == ("requires_action", "requires_action")
    (use,) = of_type(seen, "agent.tool_use")
    seen = await played.until_idle(confirmation(use.id))
    assert types_of(seen) == [
        "user.tool_confirmation", "session.status_running", "session.thread_status_running", "agent.tool_result",
        *PAUSE,
    ]  # fmt: skip
    assert reasons(seen) == ("budget_reached", "budget_reached")


async def test_a_model_without_a_list_price_cannot_have_a_budget(client: AsyncAnthropic) -> None:
    with pytest.raises(BadRequestError) as refused:
        await Played.create(client, model="small/unpriced", budget=limit(5))
    assert "model_not_budgetable" in str(refused.value)
    assert "small/unpriced" in str(refused.value)
