"""API keys: only hashes are recorded, and making the same key valid twice records it once."""

import pytest

from efferent.common import api_keys
from efferent.common.api_keys import ApiKeyRecord, UnusableKey
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


async def test_ensuring_a_revoked_key_makes_it_valid_again(log: InMemoryControlLog) -> None:
    known = await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock())
    revoked = known.model_copy(update={"revoked_at": known.created_at})
    record = ApiKeyRecord(type="api_key.revoked", at=known.created_at, workspace_id=known.workspace_id, data=revoked)
    await log.append(api_keys.subject(known.id), record.model_dump_json().encode(), expected=1)
    assert (await api_keys.ensure_key(log, "chosen", name="ours", clock=FakeClock())).revoked_at is None
    assert len(await records(log)) == 3


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
