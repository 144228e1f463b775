"""The suite's own measure: what it lets pass, and what it says of what it does not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance import coverage
from tests.conformance.contract import ABSENT, Exchange, the_contract

IDLE: dict[str, Any] = {
    "type": "session.status_idle",
    "id": "sevt_1",
    "processed_at": "2026-01-01T00:00:00.000Z",
    "stop_reason": {"type": "end_turn"},
    "stop_details": None,
}


HEADERS = {"request-id": "req_1", "anthropic-organization-id": "org", "anthropic-workspace-id": "wrkspc_1"}


def answer(path: str, body: object, *, status: int = 200, method: str = "GET", beta: str = "") -> Exchange:
    return Exchange(method, path, beta, status, body=json.dumps(body), headers=HEADERS)


def events_answer(**changes: Any) -> Exchange:
    event = {name: value for name, value in {**IDLE, **changes}.items() if value != "absent"}
    return answer("/v1/sessions/sesn_1/events?limit=1", {"data": [event], "next_page": None})


def problem_of(exchange: Exchange) -> str:
    problems = the_contract().judge(exchange).problems
    assert len(problems) == 1, problems
    return problems[0]


def test_a_right_answer_names_its_route_and_its_event_types() -> None:
    verdict = the_contract().judge(events_answer())
    assert verdict.problems == ()
    assert verdict.routes == ("beta.sessions.events.list",)
    assert verdict.event_types == {"session.status_idle"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stop_details": "absent"}, 'body.data[0]: "stop_details" is a required property'),
        ({"stop_reason": {"type": "bored"}}, 'body.data[0].stop_reason.type: "bored" is not one of'),
        ({"processed_at": "yesterday"}, 'body.data[0].processed_at: "yesterday" is not a "date-time"'),
        ({"processed_at": None}, "body.data[0].processed_at: null is not of type"),
        ({"mood": "fine"}, "body.data[0]: Additional properties are not allowed ('mood' was unexpected)"),
        ({"type": "session.bored"}, 'body.data[0].type: "session.bored" is not one of'),
    ],
)
def test_a_breach_names_route_place_and_rule(changes: dict[str, Any], told: str) -> None:
    problem = problem_of(events_answer(**changes))
    assert problem.startswith(f"GET /v1/sessions/sesn_1/events -> 200: {told}"), problem


def test_each_event_of_a_stream_is_judged() -> None:
    events = (json.dumps(IDLE), json.dumps({**IDLE, "id": 7}))
    path = "/v1/sessions/sesn_1/events/stream"
    stream = Exchange("GET", path, "", 200, events=events, content_type="text/event-stream", headers=HEADERS)
    assert "event 1: body.id: 7 is not of type" in problem_of(stream)


def test_a_page_without_its_cursor_is_a_breach() -> None:
    assert '"next_page" is a required property' in problem_of(answer("/v1/agents", {"data": []}))


def test_a_literal_segment_is_not_taken_for_an_id() -> None:
    verdict = the_contract().judge(answer("/v1/environments/env_1/work/poll", None))
    assert verdict.routes == ("beta.environments.work.poll",)


def test_ids_of_models_may_hold_slashes() -> None:
    refused = answer("/v1/models/some/model", _error("not_found_error"), status=404)
    assert the_contract().judge(refused).problems == ()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (405, "invalid_request_error"), (413, "request_too_large")]
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    path = "/v1/agents"
    assert the_contract().judge(answer(path, _error(kind), status=status)).problems == ()
    assert "does not go with the status" in problem_of(answer(path, _error("api_error"), status=status))


def test_an_error_without_its_request_id_is_a_breach() -> None:
    body = {name: value for name, value in _error("not_found_error").items() if name != "request_id"}
    assert '"request_id" is a required property' in problem_of(answer("/v1/agents", body, status=404))


def test_an_error_repeats_the_id_of_its_request_and_says_when_to_try_again() -> None:
    body = {**_error("not_found_error"), "request_id": "req_2"}
    assert "is not what the header request-id says" in problem_of(answer("/v1/agents", body, status=404))
    refused = answer("/v1/agents", _error("rate_limit_error"), status=429)
    assert problem_of(refused).endswith("header retry-after: is missing")


def test_an_error_without_envelope_is_a_breach() -> None:
    page = Exchange("GET", "/v1/agents", "", 502, content_type="text/html", headers=HEADERS)
    assert "the error has no envelope, but is text/html" in problem_of(page)


def test_an_answer_has_the_headers_that_all_have_and_the_type_of_its_route() -> None:
    good = events_answer()
    assert "header request-id: is missing" in problem_of(replace(good, headers={**HEADERS, "request-id": ""}))
    assert "content-type: is text/plain, not application/json" in problem_of(replace(good, content_type="text/plain"))


def test_an_answer_that_two_methods_read_alike_must_suit_both() -> None:
    file = {
        "id": "file_1",
        "type": "file",
        "filename": "a.txt",
        "mime_type": "text/plain",
        "size_bytes": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "downloadable": False,
        "expires_at": None,
        "scope": None,
    }
    verdict = the_contract().judge(answer("/v1/files/file_1", file))
    assert (set(verdict.routes), verdict.problems) == ({"beta.files.retrieve_metadata", "files.retrieve_metadata"}, ())
    del file["size_bytes"]
    assert the_contract().judge(answer("/v1/files/file_1", file)).routes == ()


def test_a_webhook_is_judged_and_counted_apart_from_events() -> None:
    data = {"type": "session.updated", "id": "sesn_1", "organization_id": "org", "workspace_id": "wrkspc_1"}
    delivery = {"type": "event", "id": "whe_1", "created_at": "2026-01-01T00:00:00Z", "data": data}
    assert the_contract().judge_webhook(json.dumps(delivery)).event_types == {"webhook session.updated"}
    del data["workspace_id"]
    [problem] = the_contract().judge_webhook(json.dumps(delivery)).problems
    assert problem.startswith('webhook: body.data: "workspace_id" is a required property')


def test_an_unknown_route_may_only_be_refused() -> None:
    assert "the contract has no such route" in problem_of(answer("/v1/unheard_of", {}))
    assert the_contract().judge(answer("/v1/unheard_of", _error("not_found_error"), status=404)).problems == ()


def test_coverage_wants_every_route_and_type_and_no_needless_excuse() -> None:
    contract = the_contract()
    covered = {name: {"a test"} for name in coverage.known(contract)}
    assert coverage.complaints(contract, covered, frozenset()) == []
    del covered["agent.message"]
    assert coverage.complaints(contract, covered, frozenset()) == ["agent.message: no test has tried it with success"]
    assert coverage.complaints(contract, covered, frozenset({"agent.message"})) == []
    told = coverage.complaints(contract, covered, frozenset({"agent.message", "models.list", "models.sing"}))
    assert told == [
        "models.list: was tried, strike it from not_yet.txt",
        "models.sing: not_yet.txt excuses what the contract does not have",
    ]


def test_the_contract_has_141_routes_and_ten_that_are_absent_on_purpose() -> None:
    methods = [route.sdk_method for route in the_contract().routes]
    assert len(methods) == len(set(methods)) == 141
    assert sum(method.startswith(ABSENT) for method in methods) == 10


def _error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": "req_1"}
