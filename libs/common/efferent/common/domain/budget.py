"""A session's hard ceiling at list price: when it is reached, and what an update may make of it. Pure.

Costs are compared exactly, in millionths of a dollar; what clients see is rounded to cents.
"""

from typing import Final

from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.totals import list_cost_micro_usd
from efferent.common.domain.usage import BudgetLimit

ACCEPTED_AT_CAP: Final = (
    "only `user.tool_confirmation`, `user.tool_result`, `user.custom_tool_result`, or `user.interrupt` may be sent"
)


def is_at_cap(state: SessionState, now: Timestamp) -> bool:
    """Whether the session may make no further model request: its cost has reached the budget, or cannot be told."""
    if state.budget is None:
        return False
    return state.totals.has_unpriced or list_cost_micro_usd(state, now) >= state.budget.micro_usd()


def check_change(state: SessionState, budget: BudgetLimit | None, now: Timestamp) -> None:
    """Raise InvalidRequest when the session's budget cannot become this one (None removes it for good)."""
    if budget is None:
        return
    if state.budget is None:
        raise InvalidRequest(
            "budget: budget_create_only: a budget can only be set when the session is created, and not again after it "
            "was removed",
            code="budget_create_only",
        )
    if budget.micro_usd() <= list_cost_micro_usd(state, now):
        raise InvalidRequest(
            "budget: budget_not_raised: budget.max_list_cost must be greater than the session's consumed list cost",
            code="budget_not_raised",
        )


def not_budgetable(model_id: str) -> InvalidRequest:
    """The refusal of a session with a budget whose model has no list price."""
    return InvalidRequest(
        f"budget: model_not_budgetable: the model {model_id} has no list price, so a budget cannot be kept",
        code="model_not_budgetable",
    )
