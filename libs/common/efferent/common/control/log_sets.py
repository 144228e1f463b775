"""Sets read from the log itself, for services that keep no projection: right, and as slow as the set has records."""

from typing import Any, Literal

from efferent.common.control.aggregates import SetQuestion
from efferent.common.control.kinds import kind_at, set_pattern
from efferent.common.domain.control.aggregate import ControlRecord, SetFacts, UnreadableRecord
from efferent.common.ports import ControlLog, LogUnreadable


class LogSets:
    """See the protocol ``ControlSets``."""

    def __init__(self, control_log: ControlLog) -> None:
        self._control_log = control_log

    async def set_facts(self, question: SetQuestion) -> tuple[SetFacts, int]:
        """Read every record of the set. Raises LogUnavailable, LogUnreadable."""
        newest: dict[str, ControlRecord[Any]] = {}
        sequence = 0
        async for raw in self._control_log.read(set_pattern(question.kind, question.set_id)):
            sequence = raw.sequence
            kind = kind_at(raw.subject)
            if kind is None:
                continue
            try:
                record = kind.decode(raw.payload)
            except UnreadableRecord as error:
                raise LogUnreadable(f"{raw.subject} at {raw.sequence}: {error}") from error
            if kind.is_deleted(record):
                newest.pop(raw.subject, None)
            else:
                newest[raw.subject] = record
        return _facts(question, newest), sequence


def _facts(question: SetQuestion, newest: dict[str, ControlRecord[Any]]) -> SetFacts:
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
