"""The contract's routes against a real gateway, and generated files against what they are generated from."""

import re

import requests
from aiohttp import web
from openapi_spec_validator import validate

from efferent.gateway.app import all_routes
from efferent.gateway.routes.openapi import FILE
from tests.conformance.contract import ABSENT, OWN, Route, the_contract
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
    known = {(route.method, _shape(route.path)) for route in the_contract().routes}
    served = [route for route in all_routes() if isinstance(route, web.RouteDef) and route.path.startswith("/v1/")]
    strange = [
        f"{route.method} {route.path}"
        for route in served
        if (route.method, _shape(route.path)) not in known and not OWN.fullmatch(route.path)
    ]
    assert strange == []


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
    path = re.sub(r"{[^}]*}", "some_id", route.path)
    headers = {"x-api-key": API_KEY, "anthropic-version": "2026-10-21", "anthropic-beta": route.beta or ""}
    return requests.request(route.method, f"{server.base_url}{path}", headers=headers, timeout=10)


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)
