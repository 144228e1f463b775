"""API keys: only hashes are recorded, and making the same key valid twice records it once."""

import pytest

from efferent.common import api_keys
from efferent.common.api_keys import UnknownKey, UnusableKey
from efferent.common.domain.ids import ApiKeyId, EnvironmentId, WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.ports import LogConflict, LogUnreadable, RawRecord
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream


@pytest.fixture
def log() -> InMemoryControlLog:
    return InMemoryControlLog(InMemoryStream())


async def records(log: InMemoryControlLog) -> list[RawRecord]:
    return [raw async for raw in log.read(api_keys.SUBJECT_PATTERN)]


async def test_a_created_key_is_recorded_by_its_hash_only(log: InMemoryControlLog) -> None:
    key, known = await api_keys.create_key(log, name="for the build", clock=FakeClock())
    (raw,) = await records(log)
    assert key.startswith(api_keys.KEY_PREFIX)
    assert key.encode() not in raw.payload
    assert api_keys.decode(raw).data == known
    assert raw.subject == f"control.api_key.{known.id}"
    assert api_keys.matches(key, known.hash)
    assert not api_keys.matches(key + "x", known.hash)


async def test_two_created_keys_differ(log: InMemoryControlLog) -> None:
    first, _ = await api_keys.create_key(log, name="same", clock=FakeClock())
    second, _ = await api_keys.create_key(log, name="same", clock=FakeClock())
    assert first != second
    assert len(await records(log)) == 2


async def test_ensuring_a_key_again_records_nothing(log: InMemoryControlLog) -> None:
    first = await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock())
    again = await api_keys.ensure_key(log, "chosen", name="other name", clock=FakeClock())
    assert first == again
    assert len(await records(log)) == 1


async def test_a_revoked_key_stays_revoked_when_a_gateway_starts_with_it(log: InMemoryControlLog) -> None:
    known = await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock())
    revoked = await api_keys.revoke_key(log, known.id, clock=FakeClock())
    assert await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock()) == revoked
    assert len(await records(log)) == 2


async def test_revoking_twice_records_it_once(log: InMemoryControlLog) -> None:
    clock = FakeClock()
    _, known = await api_keys.create_key(log, name="short-lived", clock=clock)
    first = await api_keys.revoke_key(log, known.id, clock=clock)
    clock.advance(1)
    assert await api_keys.revoke_key(log, known.id, clock=clock) == first
    assert first.revoked_at is not None
    assert not first.is_valid(first.created_at)
    assert [api_keys.decode(raw).type for raw in await records(log)] == ["api_key.created", "api_key.revoked"]


@pytest.mark.parametrize("identifier", ["apikey_aaaa", "nonsense", "apikey_*", "", "a.b"])
async def test_an_unknown_key_cannot_be_revoked(log: InMemoryControlLog, identifier: str) -> None:
    with pytest.raises(UnknownKey, match="no key with this id"):
        await api_keys.revoke_key(log, ApiKeyId(identifier), clock=FakeClock())


async def test_an_environment_key_shows_what_it_is_and_names_its_environment(log: InMemoryControlLog) -> None:
    environment_id = EnvironmentId("env_1")
    key, known = await api_keys.create_key(log, name="worker", clock=FakeClock(), environment_id=environment_id)
    assert key.startswith("sk-ant-oat01-")
    assert known.environment_id == environment_id
    assert await api_keys.load_key(log, known.id) == known


async def test_a_key_is_valid_until_the_moment_it_expires(log: InMemoryControlLog) -> None:
    expires_at = Timestamp("2027-01-01T00:00:00.000000Z")
    _, known = await api_keys.create_key(log, name="a week", clock=FakeClock(), expires_at=expires_at)
    assert known.is_valid(Timestamp("2026-12-31T23:59:59.999999Z"))
    assert not known.is_valid(expires_at)


async def test_keys_are_listed_by_workspace_and_environment_in_their_newest_state(log: InMemoryControlLog) -> None:
    clock, other = FakeClock(), WorkspaceId("wrkspc_other")
    _, plain = await api_keys.create_key(log, name="plain", clock=clock)
    clock.advance(1)
    _, worker = await api_keys.create_key(log, name="worker", clock=clock, environment_id=EnvironmentId("env_1"))
    clock.advance(1)
    _, theirs = await api_keys.create_key(log, name="theirs", clock=clock, workspace_id=other)
    revoked = await api_keys.revoke_key(log, plain.id, clock=clock)
    assert await api_keys.list_keys(log) == [revoked, worker, theirs]
    assert await api_keys.list_keys(log, workspace_id=other) == [theirs]
    assert await api_keys.list_keys(log, environment_id=EnvironmentId("env_1")) == [worker]


def test_a_record_from_before_environment_keys_is_read() -> None:
    payload = (
        b'{"v":1,"type":"api_key.created","at":"2026-11-21T10:00:00.000000Z","workspace_id":"wrkspc_1","data":'
        b'{"id":"apikey_1","name":"old","hash":"00","workspace_id":"wrkspc_1",'
        b'"created_at":"2026-11-21T10:00:00.000000Z","revoked_at":null}}'
    )
    known = api_keys.decode(RawRecord(sequence=1, subject="control.api_key.apikey_1", payload=payload, previous=0)).data
    assert (known.environment_id, known.expires_at) == (None, None)


async def test_two_gateways_that_start_together_record_a_key_once(log: InMemoryControlLog) -> None:
    class LateReader(InMemoryControlLog):
        """Sees nothing at its first look, as if the other gateway wrote right after it."""

        looks = 0

        async def last(self, subject: str) -> RawRecord | None:
            self.looks += 1
            return None if self.looks == 1 else await log.last(subject)

        async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
            return await log.append(subject, payload, expected=expected, fence=fence)

    first = await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock())
    assert await api_keys.ensure_key(LateReader(InMemoryStream()), "chosen", name="ours", clock=FakeClock()) == first
    assert len(await records(log)) == 1


async def test_a_log_that_always_conflicts_ends_the_try(log: InMemoryControlLog) -> None:
    class Contended(InMemoryControlLog):
        tries = 0

        async def append(self, subject: str, payload: bytes, *, expected: int, fence: str | None = None) -> int:
            self.tries += 1
            raise LogConflict(0)

    contended = Contended(InMemoryStream())
    with pytest.raises(LogConflict):
        await api_keys.ensure_key(contended, "chosen", name="ours", clock=FakeClock())
    assert contended.tries == 5


@pytest.mark.parametrize("key", ["", "with space", "new\nline", "ünicode", "x" * 513])
async def test_a_key_that_cannot_travel_in_a_header_is_refused(log: InMemoryControlLog, key: str) -> None:
    with pytest.raises(UnusableKey, match="printable ASCII"):
        await api_keys.ensure_key(log, key, name="ours", clock=FakeClock())
    assert await records(log) == []


async def test_a_key_of_the_greatest_length_is_taken(log: InMemoryControlLog) -> None:
    await api_keys.ensure_key(log, "x" * 512, name="ours", clock=FakeClock())


async def test_a_long_name_is_cut(log: InMemoryControlLog) -> None:
    _, known = await api_keys.create_key(log, name="n" * 300, clock=FakeClock())
    assert len(known.name) == api_keys.NAME_LENGTH_MAX


def test_a_record_of_another_shape_is_unreadable() -> None:
    with pytest.raises(LogUnreadable, match="not an API key"):
        api_keys.decode(RawRecord(sequence=7, subject="control.api_key.apikey_1", payload=b'{"v":2}', previous=0))
