"""Budgets as requests carry them."""

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from efferent.common.domain.usage import BudgetLimit, Money
from efferent.gateway.validation import Params

DIGITS_MAX: Final = 12


class MoneyParams(Params):
    """An amount in whole cents, written as text."""

    amount: Annotated[str, Field(max_length=DIGITS_MAX)]
    currency: Literal["USD"]

    @field_validator("amount")
    @classmethod
    def _is_whole_cents(cls, amount: str) -> str:
        if not (amount.isascii() and amount.isdecimal()) or amount.startswith("0"):
            raise ValueError("must be a whole number of cents above zero, without leading zeros")
        return amount


class BudgetParams(Params):
    """A hard ceiling at list price."""

    type: Literal["limit"]
    max_list_cost: MoneyParams

    def limit(self) -> BudgetLimit:
        """The budget that is asked for."""
        return BudgetLimit(max_list_cost=Money(amount=self.max_list_cost.amount))
