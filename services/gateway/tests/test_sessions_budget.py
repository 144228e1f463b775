"""Budgets over HTTP: how one is set, changed and removed, and what is refused."""

from pathlib import Path

import pytest

from efferent.common.model_config import ModelConfigs
from services.gateway.tests.session_api import api


def limit(amount: object = "100", **fields: object) -> dict[str, object]:
    return {"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD", **fields}}


async def test_a_budget_is_shown_raised_and_removed_for_good(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.client.beta.sessions.create(
            agent=await made.agent(),
            environment_id=await made.environment(),
            budget={"type": "limit", "max_list_cost": {"amount": "100", "currency": "USD"}},
        )
        assert session.budget is not None
        assert session.budget.max_list_cost.amount == "100"
        path = f"/v1/sessions/{session.id}"
        raised = await made.call("POST", path, {"budget": limit("2500")})
        assert (raised.status, raised.body["budget"]) == (200, limit("2500"))
        assert (await made.call("GET", path)).body["budget"] == limit("2500")
        assert (await made.call("POST", path, {"title": "other"})).body["budget"] == limit("2500")
        assert (await made.call("POST", path, {"budget": None})).body["budget"] is None
        again = await made.call("POST", path, {"budget": limit()})
        assert (again.status, again.body["error"]["type"]) == (400, "invalid_request_error")
        assert "budget_create_only" in again.message
        updates = [
            {key: event[key] for key in event if key not in ("id", "processed_at")}
            for event in (await made.call("GET", f"{path}/events")).body["data"]
        ]
        assert updates == [
            {"type": "session.updated", "budget": limit("2500")},
            {"type": "session.updated", "title": "other"},
            {"type": "session.updated", "budget": None},
        ]


async def test_a_session_without_a_budget_never_gets_one(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        refused = await made.call("POST", f"/v1/sessions/{session['id']}", {"budget": limit()})
        assert (refused.status, "budget_create_only" in refused.message) == (400, True)
        assert (await made.call("POST", f"/v1/sessions/{session['id']}", {"budget": None})).status == 200


async def test_a_budget_is_not_replaced_once_the_models_price_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(tmp_path) as made:
        session = await made.session(budget=limit())
        path = f"/v1/sessions/{session['id']}"
        monkeypatch.setattr(ModelConfigs, "has_list_price", lambda *_: False)
        refused = await made.call("POST", path, {"budget": limit("200")})
        assert (refused.status, "model_not_budgetable" in refused.message) == (400, True)
        assert (await made.call("GET", path)).body["budget"] == limit()
        assert (await made.call("POST", path, {"budget": None})).body["budget"] is None


@pytest.mark.parametrize(
    ("budget", "place"),
    [
        (limit("0"), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit("007"), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit("1.5"), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit("-1"), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit("\u0661"), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit(""), "budget.max_list_cost.amount: must be a whole number of cents above zero"),
        (limit("1" * 13), "budget.max_list_cost.amount: must be at most 12 characters long"),
        (limit(100), "budget.max_list_cost.amount: must be a string"),
        (limit(currency="EUR"), 'budget.max_list_cost.currency: "EUR" is not a valid value; expected one of USD'),
        ({"type": "soft", "max_list_cost": {}}, 'budget.type: "soft" is not a valid value; expected one of limit'),
        ({"type": "limit"}, "budget.max_list_cost: field is required"),
    ],
)
async def test_an_amount_that_is_none_is_refused_with_its_place(
    tmp_path: Path, budget: dict[str, object], place: str
) -> None:
    async with api(tmp_path) as made:
        body = {"agent": await made.agent(), "environment_id": await made.environment(), "budget": budget}
        refused = await made.call("POST", "/v1/sessions", body)
        assert refused.status == 400
        assert refused.message.startswith(f"Failed to parse request: {place}")
