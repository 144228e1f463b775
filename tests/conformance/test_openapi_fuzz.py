"""Requests that a machine made up from the OpenAPI document, against a real server: no 5xx, nothing undocumented.

Right data and wrong data alike; wrong data must be refused. A few examples of each operation by default;
``EFFERENT_TESTS_FUZZ=thorough`` tries every boundary, for minutes.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from efferent.gateway.routes.openapi import FILE
from tests.conformance.known_resources import KnownResources
from tests.support.efferent_server import API_KEY, EfferentServer

THOROUGH: Final = os.environ.get("EFFERENT_TESTS_FUZZ") == "thorough"
EXAMPLES_MAX: Final = 200 if THOROUGH else 10
TIMEOUT_S: Final = 20.0
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
VERSION: Final = "2026-10-21"
GATES: Final = ("anthropic-workspace-id", "anthropic-beta", "anthropic-version")
"""Headers that let no request through to its handler when a machine makes them up."""
PATHS: Final = json.loads(FILE.read_text())["paths"]
AnyCase = schemathesis.Case[Any]
_CONFIG: Final = SchemathesisConfig.from_dict(
    {
        "phases": {"coverage": {"enabled": THOROUGH}},
        "generation": {"with-security-parameters": False},  # keys that a machine makes up only ever give 401
    }
)
schema = schemathesis.openapi.from_path(FILE, config=_CONFIG)


@pytest.fixture(scope="session")
def known(fuzzed_server: EfferentServer) -> Iterator[KnownResources]:
    """Resources to ask for."""
    resources = KnownResources(fuzzed_server.base_url)
    yield resources
    resources.close()


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    derandomize=not THOROUGH,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_nothing_that_clients_send_is_answered_otherwise_than_documented(
    case: AnyCase, fuzzed_server: EfferentServer, known: KnownResources
) -> None:
    send(case, fuzzed_server.base_url, {})
    if "/stream" in case.operation.path:
        return  # one that is there does not end
    for name in GATES:
        case.headers.pop(name, None)
    changes = case.method != "GET" and case.operation.path.endswith(("}", "/archive"))
    case.path_parameters.update(known.path_parameters(case.operation.path, fresh=changes))
    send(case, fuzzed_server.base_url, {"anthropic-version": VERSION, **beta_of(case)})


def beta_of(case: AnyCase) -> Mapping[str, str]:
    """The header ``anthropic-beta`` of the operation, if it wants one."""
    parameters = PATHS[case.operation.path][case.operation.method.lower()]["parameters"]
    return {each["name"]: each["schema"]["enum"][0] for each in parameters if each["name"] == "anthropic-beta"}


def send(case: AnyCase, base_url: str, headers: Mapping[str, str]) -> None:
    """One request and the checks of its answer; the headers are put in the place of made-up ones."""
    all_headers = {"authorization": f"Bearer {API_KEY}", **headers}
    response = case.call(base_url=base_url, headers=all_headers, timeout=TIMEOUT_S)
    checks = [*CHECKS, negative_data_rejection] if has_wrong_body(case) else CHECKS
    case.validate_response(response, checks=checks)


def has_wrong_body(case: AnyCase) -> bool:
    """Elsewhere wrong data may be overlooked: unknown parameters and headers are, and empty ones are not given."""
    body = case.meta.components.get(ParameterLocation.BODY) if case.meta is not None else None
    return body is not None and body.mode is schemathesis.GenerationMode.NEGATIVE
