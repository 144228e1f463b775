"""Sets read from the log itself, for services that keep no projection."""

from typing import Any, Literal

from efferent.common.control.aggregates import SetQuestion
from efferent.common.control.folded_sets import FoldedSets, Newest
from efferent.common.control.kinds import kind_at, set_pattern
from efferent.common.domain.control.aggregate import SetFacts
from efferent.common.ports import ControlLog


class LogSets:
    """See the protocol ``ControlSets``."""

    def __init__(self, control_log: ControlLog) -> None:
        self._sets = FoldedSets(control_log)

    async def set_facts(self, question: SetQuestion) -> tuple[SetFacts, int]:
        """What the log says of the set. Raises LogUnavailable, LogUnreadable."""
        newest, sequence = await self._sets.newest(set_pattern(question.kind, question.set_id))
        return _facts(question, newest), sequence


def _facts(question: SetQuestion, newest: Newest) -> SetFacts:
    kind = question.kind
    parent: Literal["missing", "archived", "active"] = "missing"
    others: list[Any] = []
    for subject, record in newest.items():
        if record.data.id == question.set_id:
            parent = "archived" if record.data.archived_at is not None else "active"
        is_other = kind_at(subject) is kind and record.data.id != question.identifier
        if is_other and kind.set_of(record.data, record.workspace_id) == question.set_id:
            others.append(record.data)
    active = [data for data in others if data.archived_at is None]
    holder = next(
        (data.id for data in active if question.name is not None and kind.unique_name(data) == question.name), None
    )
    return SetFacts(holder=holder, members=len(active), total=len(others), parent=parent)
