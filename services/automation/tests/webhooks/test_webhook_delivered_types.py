"""Each type of record that webhooks know reaches an endpoint; what it gets is judged by the suite's contract."""

from pathlib import Path

from efferent.common.domain.ids import SessionId
from efferent.common.domain.webhook_types import CONTROL_TYPES
from efferent.common.jetstream.connection import Connection
from efferent.common.runtime.settings import NatsSettings
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.specification import START_US, Story, message
from services.automation.tests.webhooks.rig import running
from tests.support.webhook_receiver import receiving

RECORDS = Path(__file__).parents[4] / "tests" / "golden" / "control" / "v1"
BEFORE_ALL_US = 1_767_225_600_000_000  # 2026-01-01


async def test_every_kind_of_control_record_is_delivered(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    golden = {file.stem: file.read_bytes() for file in sorted(RECORDS.glob("*.json")) if file.stem in CONTROL_TYPES}
    clock = FakeClock(BEFORE_ALL_US)
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=clock) as webhooks:
        await webhooks.endpoint(receiver.url())
        for name, payload in golden.items():
            kind, _, deed = name.partition(".")
            await webhooks.desk.control.append(f"control.{kind}.golden_{deed}", payload, expected=0)
        await receiver.until(count=len({*golden}))
        assert {received.type for received in receiver.received} == {*golden}


async def test_a_session_that_has_to_wait_is_reported(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    session_id = SessionId("sesn_1")
    story = Story().create()
    story.send(message())
    story.claim()
    story.fail("retryable")
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=FakeClock(START_US - 1)) as webhooks:
        await webhooks.endpoint(receiver.url(), "session.status_rescheduled")
        sequence = await webhooks.desk.sessions.last_sequence(session_id)
        for record in story.records:
            sequence = await webhooks.desk.sessions.append(session_id, "out", record, expected=sequence)
        [received] = await receiver.until()
        assert (received.type, received.event["data"]["id"]) == ("session.status_rescheduled", session_id)
