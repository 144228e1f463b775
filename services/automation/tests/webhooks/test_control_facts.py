"""Every control record that was ever written says what webhooks need."""

from pathlib import Path

import pytest

from efferent.automation.webhooks import control_facts
from efferent.common.domain import webhook_events
from efferent.common.domain.webhook_types import CONTROL_TYPES
from efferent.common.ports import LogUnreadable, RawRecord

FILES = sorted((Path(__file__).parents[4] / "tests" / "golden" / "control").glob("v*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_of_a_webhooks_type_gives_its_event(path: Path) -> None:
    type_ = path.stem.partition("-")[0]
    fact = control_facts.read(RawRecord(1, "control.x.y", path.read_bytes(), 0))
    if type_ not in CONTROL_TYPES:
        assert fact is None
        return
    assert fact is not None
    assert fact.type == type_
    assert (fact.vault_id is not None) == type_.startswith("vault_credential.")
    for event in webhook_events.of_control(fact, "org"):
        assert event.data.id == fact.id


def test_a_tombstone_of_a_session_gives_its_event() -> None:
    payload = (
        b'{"v":1,"type":"session.deleted","workspace_id":"wrkspc_1","at":"2026-01-01T00:00:00.000000Z",'
        b'"data":{"id":"sesn_1","sequence":7,"event":{}}}'
    )
    fact = control_facts.read(RawRecord(1, "control.session.sesn_1", payload, 0))
    assert fact is not None
    assert (fact.type, fact.id, fact.workspace_id) == ("session.deleted", "sesn_1", "wrkspc_1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'{"type":1}', b'{"v":2,"type":"agent.created"}', b'{"v":1,"type":"agent.created","data":{}}'],
)
def test_what_cannot_be_read_is_not_passed_over(payload: bytes) -> None:
    with pytest.raises(LogUnreadable):
        control_facts.read(RawRecord(1, "control.agent.a", payload, 0))
