"""Bodies that cannot be read, answers to what is not HTTP, and what a log that does not answer means to a client."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from efferent.common.domain.refusals import ClaimLost
from efferent.common.domain.refusals import Conflict as DomainConflict
from efferent.common.domain.refusals import InvalidRequest as DomainInvalidRequest
from efferent.common.domain.refusals import NotFound as DomainNotFound
from efferent.common.ports import LogConflict, LogUnavailable
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.gateway import errors, request_body
from efferent.gateway.http_server import HEADER_BYTES_MAX, HEADERS_MAX
from services.gateway.tests.gateway_rig import BETA, VERSION, Served, ServerAddress, serve

AGENT = {"name": "a", "model": "offline/echo"}


async def raw_answer(served: Served, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to bytes that are sent as they are."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Failed to parse request: the request body is empty"),
        (b"{", "Failed to parse request: the request body is not valid JSON"),
        (b'{"name": NaN}', "Failed to parse request: the request body is not valid JSON"),
        (b'{"name": "\xff"}', "Failed to parse request: the request body is not valid JSON"),
        (b"[]", "Failed to parse request: the request body must be a JSON object"),
        (b'"text"', "Failed to parse request: the request body must be a JSON object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(served: Served, body: bytes, message: str) -> None:
    assert (await served.call("POST", "/v1/agents", body)).error == (400, "invalid_request_error", message)


async def test_a_body_may_be_nested_64_levels_and_not_65(served: Served) -> None:
    def nested(levels: int) -> bytes:
        return orjson.dumps({**AGENT, "skills": []})[:-1] + b',"extra":' + b"[" * levels + b"]" * levels + b"}"

    within = await served.call("POST", "/v1/agents", nested(63))
    assert within.error == (400, "invalid_request_error", "Failed to parse request: extra: unknown field")
    beyond = await served.call("POST", "/v1/agents", nested(64))
    text = "Failed to parse request: the request body is nested more than 64 levels deep"
    assert beyond.error == (400, "invalid_request_error", text)


@pytest.fixture
async def small(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway whose bodies may be 1,000 bytes long."""
    async with serve(nats_address, tmp_path / "data", body_bytes_max=1_000) as running:
        yield running


async def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(small: Served) -> None:
    body = orjson.dumps(AGENT)
    assert (await small.call("POST", "/v1/agents", body.ljust(1_000))).status == 200
    answer = await small.call("POST", "/v1/agents", body.ljust(1_001))
    assert answer.error == (413, "request_too_large", "Request body is larger than 1000 bytes.")


async def test_an_oversized_body_of_unknown_length_is_refused_before_it_ends(small: Served) -> None:
    refused = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b" " * 2_000
        await refused.wait()

    async def send() -> tuple[int, str]:
        headers = {"x-api-key": small.key, "anthropic-version": "2023-06-01"}
        headers["anthropic-beta"] = "managed-agents-2026-04-01"
        async with small.http.post(f"{small.url}/v1/agents", data=endless(), headers=headers) as response:
            refused.set()
            return response.status, (await response.json())["error"]["type"]

    assert await asyncio.wait_for(send(), 30) == (413, "request_too_large")


async def test_the_default_limit_of_a_body_is_32_mib(served: Served) -> None:
    longest = 32 * 1024 * 1024
    headers = {"x-api-key": served.key, "anthropic-version": VERSION, "anthropic-beta": BETA}
    async with served.http.post(f"{served.url}/v1/agents", data=io.BytesIO(b" " * longest), headers=headers) as within:
        assert within.status == 400
    body = io.BytesIO(b" " * (longest + 1))
    async with served.http.post(f"{served.url}/v1/agents", data=body, headers=headers) as beyond:
        assert beyond.status == 413
        error = (await beyond.json())["error"]
    assert error == {"type": "request_too_large", "message": f"Request body is larger than {longest} bytes."}


async def test_a_body_that_stops_in_the_middle_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "SILENCE_MAX_S", 0.05)

    async def stops() -> AsyncIterator[bytes]:
        yield b'{"name": '
        await asyncio.Event().wait()

    headers = {"x-api-key": served.key, "anthropic-version": VERSION, "anthropic-beta": BETA}
    async with served.http.post(f"{served.url}/v1/agents", data=stops(), headers=headers) as refused:
        assert refused.status == 400
        assert (await refused.json())["error"]["details"] == {"error_code": "request_body_timeout"}


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "iso-8859-1", "us-ascii", '"utf-8"', ""])
async def test_a_body_may_name_a_charset_that_json_fits_in(served: Served, charset: str) -> None:
    headers = {"content-type": f"application/json; charset={charset}"}
    assert (await served.call("POST", "/v1/agents", AGENT, headers=headers)).status == 200


@pytest.mark.parametrize("charset", ["utf-16", "shift_jis", "nope", "x" * 5_000])
async def test_a_body_in_another_charset_is_refused(served: Served, charset: str) -> None:
    headers = {"content-type": f"application/json; charset={charset}"}
    refused = await served.call("POST", "/v1/agents", AGENT, headers=headers)
    assert refused.error[:2] == (400, "invalid_request_error")
    assert refused.error[2].startswith(f'content-type: charset "{charset[:20]}')
    assert refused.body["error"]["details"] == {"error_code": "unsupported_charset"}


async def test_a_body_that_claims_to_be_compressed_and_is_not_is_refused(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"x-api-key": served.key, "anthropic-version": VERSION, "anthropic-beta": BETA, "content-encoding": "gzip"}
    lines = ["POST /v1/agents HTTP/1.1", "host: x", "content-length: 8", *(f"{n}: {v}" for n, v in names.items())]
    head, body = await raw_answer(served, "\r\n".join([*lines, "", "not gzip"]).encode())
    assert head.split(b" ", 2)[1] == b"400"
    assert orjson.loads(body)["error"]["type"] == "invalid_request_error"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello there\r\n\r\n",
        b"GET /v1/agents HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * HEADER_BYTES_MAX + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nx-long: " + b"a" * (HEADER_BYTES_MAX + 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_the_envelope_too(served: Served, request_bytes: bytes) -> None:
    head, body = await raw_answer(served, request_bytes)
    answer = orjson.loads(body)
    assert head.split(b" ", 2)[1] == b"400"
    assert answer["error"] == {"type": "invalid_request_error", "message": "The request is not valid HTTP."}
    assert f"request-id: {answer['request_id']}".encode() in head.lower()
    assert b"server: efferent\r\n" in head.lower() + b"\r\n"


async def test_after_a_refusal_the_connection_serves_the_next_request(served: Served) -> None:
    assert (await served.call("POST", "/v1/agents", b"{")).status == 400
    assert (await served.call("POST", "/v1/agents", AGENT)).status == 200


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway over a log that no other test sees."""
    spec = nats_server.ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with (
        nats_server.running(spec) as server,
        serve(ServerAddress(server.url, server.token), tmp_path / "data") as running,
    ):
        yield running


async def test_without_the_log_changes_and_lists_answer_overloaded(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        address = ServerAddress(server.url, server.token)
        async with serve(address, tmp_path / "data", readiness_check_s=0.5) as served:
            lost = asyncio.Event()
            stop = served.connection.on_change(lambda connected: None if connected else lost.set())
            await nats_server.kill(server)
            await asyncio.wait_for(lost.wait(), 30)
            stop()
            answers = await asyncio.gather(
                served.call("POST", "/v1/agents", AGENT),
                served.call("GET", "/v1/agents"),
                served.call("GET", "/v1/agents/agent_x"),
                served.call("GET", "/readyz"),
            )
            for answer in answers[:3]:
                assert answer.error == (529, "overloaded_error", "Overloaded. Please try again.")
                assert "x-should-retry" not in answer.headers
            assert answers[3].status == 503
            assert answers[3].body["checks"]["nats"] == {"ready": False, "reason": "not connected to NATS"}


async def test_a_full_log_answers_overloaded_and_keeps_what_it_has(tmp_path: Path) -> None:
    spec = nats_server.ServerSpec(
        folder=tmp_path / "nats",
        port=free_port(),
        token=nats_server.new_token(),
        store_bytes_max=64 * 1024,
    )
    async with (
        nats_server.running(spec) as server,
        serve(ServerAddress(server.url, server.token), tmp_path / "data") as served,
    ):
        first = await served.call("POST", "/v1/agents", AGENT)
        answer = first
        for _ in range(10):
            if answer.status != 200:
                break
            answer = await served.call("POST", "/v1/agents", {**AGENT, "system": "x" * 50_000})
        assert answer.error == (529, "overloaded_error", "Overloaded. Please try again.")
        assert (await served.call("GET", f"/v1/agents/{first.body['id']}")).body == first.body
        assert (await served.call("GET", "/readyz")).body["checks"]["log"]["ready"] is False


async def test_a_defect_answers_500_without_what_went_wrong(own: Served, caplog: pytest.LogCaptureFixture) -> None:
    await own.control_log.append("control.agent.agent_broken", b'{"v":1,"secret":1}', expected=0)
    answer = await own.call("GET", "/v1/agents/agent_broken")
    assert answer.error == (500, "api_error", "Internal server error")
    assert "secret" not in str(answer.body)
    (line,) = [record for record in caplog.records if record.message == "a request failed"]
    assert vars(line)["request_id"] == answer.headers["request-id"]


async def test_a_stream_has_the_headers_that_all_answers_have(served: Served) -> None:
    agent = await served.call("POST", "/v1/agents", AGENT)
    environment = await served.call("POST", "/v1/environments", {"name": "e"})
    body = {"agent": agent.body["id"], "environment_id": environment.body["id"]}
    session = await served.call("POST", "/v1/sessions", body)
    headers = {"x-api-key": served.key, "anthropic-version": VERSION, "anthropic-beta": BETA}
    path = f"{served.url}/v1/sessions/{session.body['id']}/events/stream"
    async with served.http.get(path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["request-id"].startswith("req_")
        assert response.headers["anthropic-workspace-id"] == served.workspace_id
        assert response.headers["anthropic-organization-id"]


@pytest.mark.parametrize(
    ("error", "status", "type_", "should_retry"),
    [
        (errors.InvalidRequest("no"), 400, "invalid_request_error", None),
        (errors.Unauthenticated(), 401, "authentication_error", None),
        (errors.PermissionDenied("no"), 403, "permission_error", None),
        (errors.NotFound("no"), 404, "not_found_error", None),
        (errors.Conflict("no"), 409, "conflict_error", "false"),
        (errors.RequestTooLarge("no"), 413, "request_too_large", None),
        (errors.Overloaded(), 529, "overloaded_error", None),
        (DomainInvalidRequest("no"), 400, "invalid_request_error", None),
        (DomainNotFound("no"), 404, "not_found_error", None),
        (DomainConflict("no"), 409, "conflict_error", "false"),
        (LogUnavailable("no"), 529, "overloaded_error", None),
        (LogConflict(1), 529, "overloaded_error", None),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "request_too_large", None),
        (web.HTTPExpectationFailed(), 400, "invalid_request_error", None),
    ],
)
def test_each_refusal_has_its_status_and_type(
    error: Exception, status: int, type_: str, should_retry: str | None
) -> None:
    refusal = errors.as_api_error(error)
    assert refusal is not None
    response = errors.to_response(refusal, "req_1")
    assert response.status == status
    assert response.headers.get("x-should-retry") == should_retry
    assert response.body == errors.envelope(refusal, "req_1")
    assert orjson.loads(errors.envelope(refusal, "req_1")) == {
        "type": "error",
        "error": {"type": type_, "message": refusal.message},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("error", [ValueError("x"), ClaimLost("x"), KeyError("x"), web.HTTPInternalServerError()])
def test_everything_else_is_a_defect(error: Exception) -> None:
    assert errors.as_api_error(error) is None


def test_details_are_part_of_the_error() -> None:
    refusal = errors.as_api_error(DomainInvalidRequest("no", code="invalid_metadata"))
    assert refusal is not None
    assert orjson.loads(errors.envelope(refusal, "req_1"))["error"]["details"] == {"error_code": "invalid_metadata"}


async def test_access_lines_name_the_route_and_never_what_was_sent(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "efferent.access"):
        answer = await served.call("GET", "/v1/agents/agent_secret?version=1")
    (line,) = [record for record in caplog.records if record.name == "efferent.access"]
    assert vars(line)["route"] == "/v1/agents/{agent_id}"
    assert vars(line)["request_id"] == answer.headers["request-id"]
    assert vars(line)["status"] == 404
    assert vars(line)["ms"] >= 0
    assert "agent_secret" not in str(vars(line))


async def test_metrics_count_by_route_and_status(served: Served) -> None:
    await served.call("GET", "/v1/agents/agent_unknown")
    await served.call("PROPFIND", "/nothing")
    text = (await served.call("GET", "/metrics")).body.decode()
    assert 'efferent_http_requests_total{method="GET",route="/v1/agents/{agent_id}",status="404"} 1' in text
    assert 'efferent_http_requests_total{method="other",route="unknown",status="404"} 1' in text


async def test_health_and_readiness_need_no_key(served: Served) -> None:
    nothing = {"x-api-key": None, "anthropic-beta": None, "anthropic-version": None}
    assert (await served.call("GET", "/healthz", headers=nothing)).body == {"status": "ok"}
    ready = await served.call("GET", "/readyz", headers=nothing)
    assert ready.status == 503
    assert ready.body["checks"]["brain"] == {"ready": False, "reason": "no brain is running"}
    for name in ("nats", "log", "control"):
        assert ready.body["checks"][name] == {"ready": True, "reason": ""}
