"""The contract's routes against a real gateway, and generated files against what they are generated from."""

import json
import re
from functools import partial
from typing import Any

import pytest
import requests
from aiohttp import web
from openapi_spec_validator import validate

from efferent.gateway.app import all_routes
from efferent.gateway.routes.openapi import FILE
from tests.conformance.contract import ABSENT, Route, the_contract
from tests.support.efferent_server import API_KEY, EfferentServer
from tools import generate_contract, generate_openapi

ABSENT_ROUTES = [route for route in the_contract().routes if route.sdk_method.startswith(ABSENT)]


def test_the_contract_is_what_the_installed_sdk_says() -> None:
    assert generate_contract.FILE.read_text() == generate_contract.text(), "run python -m tools.generate_contract"


def test_the_openapi_document_is_what_the_routes_say() -> None:
    assert FILE.read_text() == generate_openapi.text(), "run python -m tools.generate_openapi"


def test_the_openapi_document_is_valid() -> None:
    validate(generate_openapi.document())


def test_every_route_is_in_the_contract_or_known_to_be_our_own() -> None:
    known = {(route.method, _shape(route.path)) for route in (*the_contract().routes, *the_contract().own_routes)}
    assert sorted(_served() - known) == []


def test_every_route_of_the_contract_is_there_but_those_that_are_absent_on_purpose() -> None:
    absent = {(route.method, _shape(route.path)) for route in ABSENT_ROUTES}
    assert {(route.method, _shape(route.path)) for route in the_contract().routes} - _served() == absent


def test_the_document_has_each_route_of_the_gateway_and_no_other() -> None:
    paths = json.loads(FILE.read_text())["paths"]
    documented = {(method.upper(), _shape(path)) for path, item in paths.items() for method in item}
    assert documented == _served()


@pytest.mark.parametrize("path", sorted(json.loads(FILE.read_text())["paths"]))
def test_what_comes_before_a_handler_is_the_same_for_every_operation(path: str, fuzzed_server: EfferentServer) -> None:
    item = json.loads(FILE.read_text())["paths"][path]
    for method, operation in item.items():
        ask = partial(requests.request, method, fuzzed_server.base_url + _filled(path), timeout=10)
        headers = {"x-api-key": API_KEY, "anthropic-version": "2026-10-21"} | _beta(operation)
        for key in ({}, {"x-api-key": "sk-ant-wrong"}, {"authorization": "Basic eDp5"}):
            refused = ask(headers={**{name: headers[name] for name in headers if name != "x-api-key"}, **key})
            assert (refused.status_code, refused.json()["error"]["message"]) == (401, "Authentication failed")
        both = ask(headers={**headers, "authorization": f"Bearer {API_KEY}"})
        assert both.status_code == 401
        if _beta(operation) and not path.startswith("/v1/user_profiles"):  # which may go without
            refused = ask(headers={name: headers[name] for name in headers if name != "anthropic-beta"})
            assert (refused.status_code, refused.json()["error"]) == (
                404,
                {"type": "not_found_error", "message": "not found"},
            )
        refused = ask(headers={name: headers[name] for name in headers if name != "anthropic-version"})
        assert (refused.status_code, refused.json()["error"]["message"]) == (
            400,
            "anthropic-version: header is required",
        )
        refused = ask(headers={**headers, "anthropic-workspace-id": "wrkspc_another"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    refused = requests.put(fuzzed_server.base_url + _filled(path), headers={"x-api-key": API_KEY}, timeout=10)
    assert (refused.status_code, refused.json()["error"]["type"]) == (405, "invalid_request_error")
    assert {method.upper() for method in item} <= set(refused.headers["allow"].replace(" ", "").split(","))


def test_the_document_is_served_without_a_key_and_once(fuzzed_server: EfferentServer) -> None:
    first = requests.get(f"{fuzzed_server.base_url}/openapi.json", timeout=10)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.content == FILE.read_bytes()
    assert first.headers["content-encoding"] in ("gzip", "deflate")
    again = requests.get(
        f"{fuzzed_server.base_url}/openapi.json", headers={"if-none-match": first.headers["etag"]}, timeout=10
    )
    assert (again.status_code, again.content) == (304, b"")


def test_tunnels_are_answered_as_if_they_did_not_exist(fuzzed_server: EfferentServer) -> None:
    assert len(ABSENT_ROUTES) == 10
    for route in ABSENT_ROUTES:
        answer = _ask(fuzzed_server, route)
        assert (answer.status_code, answer.json()["error"]) == (
            404,
            {"type": "not_found_error", "message": "Not found"},
        )


def _ask(server: EfferentServer, route: Route) -> requests.Response:
    headers = {"x-api-key": API_KEY, "anthropic-version": "2026-10-21", "anthropic-beta": route.beta or ""}
    return requests.request(route.method, server.base_url + _filled(route.path), headers=headers, timeout=10)


def _served() -> set[tuple[str, str]]:
    routes = [route for route in all_routes() if isinstance(route, web.RouteDef) and route.path.startswith("/v1/")]
    return {(route.method, _shape(route.path)) for route in routes if route.method != "HEAD"}


def _beta(operation: dict[str, Any]) -> dict[str, str]:
    parameters = operation["parameters"]
    return {each["name"]: each["schema"]["enum"][0] for each in parameters if each["name"] == "anthropic-beta"}


def _filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "some_id", path)


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)
