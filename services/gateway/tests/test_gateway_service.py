"""The gateway from start to stop: what a failed start leaves behind, what a drain waits for, what readiness asks."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from efferent.common.domain.ids import BrainId
from efferent.common.hands_api import sandbox_pb2, sandbox_pb2_grpc
from efferent.common.jetstream import api
from efferent.common.jetstream.live import PresenceBeacon
from efferent.common.ports import LogUnavailable
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.gateway.adapters.hands import GatewayHands
from efferent.gateway.app import build
from services.gateway.tests.gateway_rig import BETA, CLOCK, VERSION, WAIT_S, Served, ServerAddress, serve, settings

AGENT = {"name": "a", "model": "offline/echo"}


class Hands(sandbox_pb2_grpc.SandboxesServicer):
    """Hands that only answer the question whether they can work."""

    def __init__(self) -> None:
        self.reason = ""
        self.asked = 0

    async def Check(self, request: sandbox_pb2.CheckRequest, context: object) -> sandbox_pb2.CheckResponse:
        """The verdict of the test."""
        self.asked += 1
        return sandbox_pb2.CheckResponse(ready=not self.reason, reason=self.reason, backend="process")


@asynccontextmanager
async def hands_running(hands: Hands) -> AsyncIterator[str]:
    """The address of a real gRPC server with these hands."""
    server = grpc.aio.server()
    sandbox_pb2_grpc.add_SandboxesServicer_to_server(hands, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_readiness_tells_what_the_hands_say(nats_address: ServerAddress, tmp_path: Path) -> None:
    hands = Hands()
    hands.reason = "user namespaces are forbidden here"
    async with hands_running(hands) as address, serve(nats_address, tmp_path / "d", hands_address=address) as served:
        checks = (await served.call("GET", "/readyz")).body["checks"]
        assert checks["hands"] == {"ready": False, "reason": "user namespaces are forbidden here"}
        hands.reason = ""
        checks = (await served.call("GET", "/readyz")).body["checks"]
        assert checks["hands"] == {"ready": True, "reason": ""}


async def test_a_good_verdict_of_the_hands_is_believed_for_a_while() -> None:
    hands = Hands()
    async with hands_running(hands) as address:
        check = GatewayHands(address, CLOCK)
        assert [await check.check() for _ in range(3)] == [None, None, None]
        assert hands.asked == 1
        await check.close()


async def test_hands_that_do_not_answer_are_not_ready() -> None:
    check = GatewayHands("127.0.0.1:1", CLOCK)
    assert (await check.check() or "").startswith("the hands do not answer")
    await check.close()


async def test_with_a_brain_and_hands_a_gateway_is_ready(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with hands_running(Hands()) as address, serve(nats_address, tmp_path / "d", hands_address=address) as served:
        beacon = PresenceBeacon(served.connection, BrainId("brain_test"), tuple)
        await beacon.start()
        try:
            async with asyncio.timeout(WAIT_S):
                while (answer := await served.call("GET", "/readyz")).status != 200:
                    pass
            assert answer.body["ready"] is True
            names = {"nats", "log", "control", "sessions", "blobs", "work", "brain", "hands"}
            assert answer.body["checks"] == {name: {"ready": True, "reason": ""} for name in names}
        finally:
            await beacon.stop()


async def test_readiness_names_the_stream_that_takes_no_appends(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(tmp_path / "nats", free_port(), nats_server.new_token())
    async with (
        nats_server.running(spec) as nats,
        serve(ServerAddress(nats.url, nats.token), tmp_path / "data") as served,
    ):
        checks = (await served.call("GET", "/readyz")).body["checks"]
        assert checks["log"] == {"ready": True, "reason": ""}
        await api.call(served.connection, "STREAM.DELETE.KEYS", {})
        checks = (await served.call("GET", "/readyz")).body["checks"]
        assert checks["log"] == {"ready": False, "reason": "the log does not take appends (KEYS)"}


async def test_a_port_in_use_fails_the_start_and_leaves_nothing_behind(served: Served, tmp_path: Path) -> None:
    nats = served.gateway._settings.nats
    address = ServerAddress(nats.url, nats.token_text() or "")
    second = build(settings(address, tmp_path / "second").model_copy(update={"port": served.gateway.port}), environ={})
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()


async def test_a_wrong_token_fails_the_start_at_once(nats_address: ServerAddress, tmp_path: Path) -> None:
    gateway = build(settings(ServerAddress(nats_address.url, "wrong"), tmp_path), environ={})
    with pytest.raises(LogUnavailable, match="refused"):
        await gateway.start()
    await gateway.stop()


async def test_probes_that_are_answered_well_leave_no_line(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="efferent.access")
    for path in ("/healthz", "/metrics", "/readyz", "/v1/agents"):
        await served.call("GET", path)
    told = {str(getattr(record, "route", "")): getattr(record, "status", 0) for record in caplog.records}
    assert told == {"/readyz": 503, "/v1/agents": 200}


async def test_a_drain_ends_streams_and_takes_no_more_connections(served: Served) -> None:
    agent = await served.call("POST", "/v1/agents", AGENT)
    environment = await served.call("POST", "/v1/environments", {"name": "e"})
    session = await served.call(
        "POST", "/v1/sessions", {"agent": agent.body["id"], "environment_id": environment.body["id"]}
    )
    headers = {"x-api-key": served.key, "anthropic-version": VERSION, "anthropic-beta": BETA}
    path = f"{served.url}/v1/sessions/{session.body['id']}/events/stream"
    async with served.http.get(path, headers=headers) as stream:
        port = served.gateway.port
        async with asyncio.timeout(WAIT_S):
            await served.gateway.drain()
            await stream.read()
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_request_that_is_being_served_is_answered_before_a_drain_ends(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with (
        nats_server.running(spec) as server,
        serve(ServerAddress(server.url, server.token), tmp_path / "d") as up,
    ):
        assert (await up.call("GET", "/v1/agents")).status == 200  # the key is known from here on
        server.process.send_signal(signal.SIGSTOP)
        creating = asyncio.create_task(up.call("POST", "/v1/agents", AGENT))
        while b"efferent_http_requests_open 2" not in (await up.call("GET", "/metrics")).body:
            pass
        draining = asyncio.create_task(up.gateway.drain())
        await asyncio.sleep(0)
        server.process.send_signal(signal.SIGCONT)
        assert (await creating).status == 200
        await draining
