"""Keys that end while something is open with them: the stream ends at once, the next request is refused."""

import asyncio
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from anthropic import APIStatusError

from efferent.common import api_keys, workspaces
from efferent.common.api_keys import ApiKey
from efferent.common.domain import timestamp
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.timestamp import Timestamp
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.testing.fake_clock import FakeClock
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.gateway.access.key_ring import KeyRing
from services.gateway.tests.session_api import Api, api
from services.gateway.tests.session_rig import WAIT_S

CLOCK = SystemClock()
UNAUTHENTICATED = {"type": "authentication_error", "message": "Authentication failed"}


async def revoke(made: Api, key: str) -> ApiKey:
    return await api_keys.revoke_key(made.control_log, api_keys.key_id(key), clock=CLOCK)


async def second_key(made: Api, *, workspace_id: WorkspaceId | None = None, lives_s: float | None = None) -> str:
    """Another key, for the same workspace unless told otherwise."""
    now = timestamp.to_datetime(timestamp.from_epoch_us(CLOCK.now_us()))
    key, _ = await api_keys.create_key(
        made.control_log,
        name="second",
        clock=CLOCK,
        workspace_id=workspace_id or api_keys.DEFAULT_WORKSPACE_ID,
        expires_at=timestamp.from_datetime(now + timedelta(seconds=lives_s)) if lives_s is not None else None,
    )
    return key


async def test_an_open_stream_ends_with_an_error_event_when_its_key_is_revoked(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        path = f"/v1/sessions/{session['id']}/events/stream"
        key = await second_key(made)
        async with made.stream(path, x_api_key=key) as theirs, made.stream(path) as ours:
            await revoke(made, key)
            frame = await theirs.frame()
            assert frame["event"] == "error"
            body = orjson.loads(frame["data"])
            assert (body["error"], body["request_id"]) == (UNAUTHENTICATED, theirs.response.headers["request-id"])
            assert await theirs.frame() == {}
            await made.send(session["id"], "still here")
            await made.brain(session["id"]).start_turn()
            assert "session.status_running" in [event["type"] for event in await ours.events(2)]
        assert (await made.call("GET", path, key=key)).body["error"] == UNAUTHENTICATED


async def test_the_official_client_raises_when_its_key_is_revoked_under_a_stream(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        async with asyncio.timeout(WAIT_S), await made.client.beta.sessions.events.stream(session["id"]) as stream:
            await revoke(made, made.key)
            with pytest.raises(APIStatusError, match="Authentication failed"):
                await anext(aiter(stream))


async def test_an_open_stream_ends_when_its_key_expires(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        key = await second_key(made, lives_s=4)  # long enough to open a stream on a machine that stalls
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream", x_api_key=key) as stream:
            assert (await stream.frame())["event"] == "error"
        assert (await made.call("GET", "/v1/agents", key=key)).status == 401


async def test_archiving_a_workspace_ends_its_streams_and_refuses_its_keys(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        workspace = await workspaces.create_workspace(
            made.control_log, name="team", seed=RandomSeeds().seed(), clock=CLOCK
        )
        key = await second_key(made, workspace_id=workspace.id)
        ours = made.key
        made.key = key
        session = await made.session()
        made.key = ours
        async with made.stream(f"/v1/sessions/{session['id']}/events/stream", x_api_key=key) as stream:
            await workspaces.archive_workspace(made.control_log, workspace.id, clock=CLOCK)
            assert (await stream.frame())["event"] == "error"
        assert (await made.call("GET", "/v1/agents", key=key)).status == 401
        assert (await made.call("GET", "/v1/agents")).status == 200
        late = await second_key(made, workspace_id=workspace.id)
        assert (await made.call("GET", "/v1/agents", key=late)).status == 401


async def test_a_key_revoked_between_its_check_and_the_stream_ends_the_stream_at_once() -> None:
    log = InMemoryControlLog(InMemoryStream())
    clock = FakeClock()
    ring = KeyRing(log, clock)
    text, key = await api_keys.create_key(log, name="k", clock=clock)
    assert await ring.find(text) == key
    await api_keys.revoke_key(log, key.id, clock=clock)
    await ring.refresh(key.id)
    ended: list[str] = []
    with ring.while_valid(key.id, lambda: ended.append("cut")):
        assert ended == ["cut"]
    assert await ring.find(text) is None


async def test_an_older_record_that_comes_late_does_not_bring_a_revoked_key_back() -> None:
    log = InMemoryControlLog(InMemoryStream())
    clock = FakeClock()
    text, key = await api_keys.create_key(log, name="k", clock=clock)
    await api_keys.revoke_key(log, key.id, clock=clock)
    records = [raw async for raw in log.read(api_keys.SUBJECT_PATTERN)]
    ring = KeyRing(log, clock)
    ring.apply(records[::-1])
    assert await ring.find(text) is None


async def test_what_was_closed_is_not_ended_later_and_others_of_the_key_are() -> None:
    log = InMemoryControlLog(InMemoryStream())
    clock = FakeClock()
    ring = KeyRing(log, clock)
    text, key = await api_keys.create_key(
        log, name="k", clock=clock, expires_at=Timestamp("2030-01-01T00:00:00.000000Z")
    )
    await ring.find(text)
    ended: list[str] = []
    with ring.while_valid(key.id, lambda: ended.append("open")):
        with ring.while_valid(key.id, lambda: ended.append("closed")):
            pass
        await api_keys.revoke_key(log, key.id, clock=clock)
        await ring.refresh(key.id)
    assert ended == ["open"]
