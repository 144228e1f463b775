"""Requests that a machine made up from the OpenAPI document, against a real server: no 5xx, nothing undocumented.

A few examples of each operation by default; ``EFFERENT_TESTS_FUZZ=thorough`` tries every boundary, for minutes.
"""

import os
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
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
    response_schema_conformance,
]
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
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_nothing_that_clients_send_is_answered_otherwise_than_documented(
    case: AnyCase, fuzzed_server: EfferentServer, known: KnownResources
) -> None:
    send(case, fuzzed_server.base_url)
    if case.path_parameters and "/stream" not in case.operation.path:
        changes = case.method != "GET" and case.operation.path.endswith(("}", "/archive"))
        case.path_parameters.update(known.path_parameters(case.operation.path, fresh=changes))
        send(case, fuzzed_server.base_url)


def send(case: AnyCase, base_url: str) -> None:
    """One request and the checks of its answer."""
    response = case.call(base_url=base_url, headers={"authorization": f"Bearer {API_KEY}"}, timeout=TIMEOUT_S)
    case.validate_response(response, checks=CHECKS)
