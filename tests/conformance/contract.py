"""What the suite holds every answer against: which route a request meant, and whether its answer is right."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

FILE: Final = Path(__file__).with_name("contract.json")
TYPES_BY_STATUS: Final[Mapping[int, frozenset[str]]] = {
    401: frozenset({"authentication_error"}),
    402: frozenset({"billing_error"}),
    403: frozenset({"permission_error"}),
    404: frozenset({"not_found_error"}),
    409: frozenset({"conflict_error", "memory_precondition_failed_error", "memory_path_conflict_error"}),
    413: frozenset({"request_too_large"}),
    429: frozenset({"rate_limit_error"}),
    504: frozenset({"timeout_error"}),
    529: frozenset({"overloaded_error"}),
}
"""The ``error.type`` of a status; another 4xx is an ``invalid_request_error``, another 5xx an ``api_error``."""

ABSENT: Final = "beta.tunnels."
"""Methods that this server answers with 404 on purpose."""

OWN: Final = re.compile(r"/v1/environments/[^/]+/keys(/.*)?")
"""Paths that this server has beside the contract."""

_URN: Final = "urn:contract"
_FREE_FORM: Final = ("BetaManagedAgentsCustomToolInputSchema",)
"""Objects of the client that are echoed: their further fields are not ours to know."""
_ALL_WEBHOOK_TYPES: Final = ("BetaNewOrganizationWebhookEndpoint", "BetaOrganizationWebhookEndpoint")
"""The SDK's enum of event types has five members; this server takes every type that it delivers."""
_PROBLEMS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Route:
    """One method of the SDK and what it asks for."""

    sdk_method: str
    method: str
    path: str
    beta: str | None
    query: Mapping[str, Any]
    body: str | None
    parts: Mapping[str, Any]
    answer: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One answer as it went out. A stream has ``events``, one JSON text each; what is not JSON has neither."""

    method: str
    path: str
    beta: str
    status: int
    body: str | None = None
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer was to the contract."""

    routes: tuple[str, ...]
    """The SDK's methods that would have read it; empty for an error and for what is not in the contract."""
    event_types: frozenset[str]
    problems: tuple[str, ...]


class Contract:
    """Routes and schemas, read once."""

    def __init__(self, text: str) -> None:
        self._document: dict[str, Any] = json.loads(text)
        self.routes = [Route(**row) for row in self._document["routes"]]
        self.event_types: list[str] = self._document["event_types"]
        for name in _FREE_FORM:
            self.schemas[name].pop("additionalProperties", None)
        for name in _ALL_WEBHOOK_TYPES:
            self.schemas[name]["properties"]["enabled_events"]["items"] = {"type": "string"}
        self._places = [(route, _pattern(route)) for route in sorted(self.routes, key=_openness)]
        document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_decidable(self._document)}
        self._registry = jsonschema_rs.Registry([(_URN, document)])
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    @property
    def schemas(self) -> dict[str, Any]:
        """The models by name."""
        models: dict[str, Any] = self._document["components"]["schemas"]
        return models

    def judge(self, exchange: Exchange) -> Verdict:
        """What the answer was, and what is wrong with it: each problem names route, path in the body and rule."""
        where = f"{exchange.method} {exchange.path.partition('?')[0]} -> {exchange.status}"
        if exchange.status >= 400:
            absent = tuple(r.sdk_method for r in self._meant(exchange) if r.sdk_method.startswith(ABSENT))
            met = absent if exchange.status == 404 else ()
            return Verdict(met, frozenset(), tuple(f"{where}: {problem}" for problem in self._of_error(exchange)))
        routes = self._meant(exchange)
        if not routes and OWN.fullmatch(exchange.path.partition("?")[0]):
            return Verdict((), frozenset(), ())
        if not routes:
            return Verdict((), frozenset(), (f"{where}: the contract has no such route",))
        first: list[str] = []
        for schema in {json.dumps(route.schema): None for route in routes}:
            problems = self._of_answer(exchange, schema)
            if not problems:
                fitting = tuple(route.sdk_method for route in routes if json.dumps(route.schema) == schema)
                return Verdict(fitting, self._events_in(exchange, routes[0]), ())
            first = first or problems
        return Verdict((), frozenset(), tuple(f"{where}: {problem}" for problem in first))

    def problems_of(self, instance: Any, schema: Mapping[str, Any] | str) -> list[str]:
        """Where and how an instance breaks a schema of the contract; the first few."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        if text not in self._validators:
            absolute = _decidable(json.loads(text.replace('"#/components', f'"{_URN}#/components')))
            self._validators[text] = jsonschema_rs.Draft202012Validator(
                absolute, registry=self._registry, validate_formats=True
            )
        found: list[str] = []
        for error in self._validators[text].iter_errors(instance):
            place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.instance_path)
            found.append(f"body{place}: {error.message[:300]} ({error.kind.name})")
            if len(found) == _PROBLEMS_MAX:
                break
        return found

    def _of_answer(self, exchange: Exchange, schema: str) -> list[str]:
        if json.loads(schema).get("format") == "binary":
            return []
        if exchange.events:
            return [
                f"event {index}: {problem}"
                for index, event in enumerate(exchange.events)
                for problem in self._of_event(json.loads(event), schema)
            ]
        if exchange.body is None:
            return []
        return self.problems_of(json.loads(exchange.body), schema)

    def _of_event(self, event: Any, schema: str) -> list[str]:
        """A stream that is ended by the server says why in an error envelope, under the event name ``error``."""
        is_error = isinstance(event, dict) and event.get("type") == "error"
        return self.problems_of(event, {"$ref": "#/components/schemas/ErrorEnvelope"} if is_error else schema)

    def _of_error(self, exchange: Exchange) -> list[str]:
        if exchange.body is None:
            return []
        body = json.loads(exchange.body)
        problems = self.problems_of(body, {"$ref": "#/components/schemas/ErrorEnvelope"})
        other = "api_error" if exchange.status >= 500 else "invalid_request_error"
        allowed = TYPES_BY_STATUS.get(exchange.status, frozenset({other}))
        if not problems and body["error"]["type"] not in allowed:
            problems.append(f"body.error.type: {body['error']['type']} does not go with the status")
        return problems

    def _meant(self, exchange: Exchange) -> Sequence[Route]:
        path = exchange.path.partition("?")[0]
        first = next((r for r, p in self._places if r.method == exchange.method and p.fullmatch(path)), None)
        if first is None:
            return ()
        routes = [r for r in self.routes if (r.method, r.path) == (first.method, first.path)]
        named = [r for r in routes if r.beta is not None and _undated(r.beta) in exchange.beta]
        return named or [r for r in routes if r.beta is None] or routes

    def _events_in(self, exchange: Exchange, route: Route) -> frozenset[str]:
        if exchange.events:
            return frozenset(json.loads(event)["type"] for event in exchange.events) - {"error"}
        if not route.path.endswith("/events") or exchange.body is None:
            return frozenset()
        return frozenset(event["type"] for event in json.loads(exchange.body).get("data") or ())


@cache
def the_contract() -> Contract:
    """The one of this project."""
    return Contract(FILE.read_text())


def _pattern(route: Route) -> re.Pattern[str]:
    free = ".+" if route.path.startswith("/v1/models/") else "[^/]+"
    return re.compile(re.sub(r"\\{[a-z_]+\\}", free, re.escape(route.path)))


def _openness(route: Route) -> int:
    """How much of the path is free; ``/work/poll`` is not the work with the id ``poll``."""
    return route.path.count("{")


def _decidable(node: Any) -> Any:
    """The same schemas with unions that first look at the discriminator, so that a problem is named where it is."""
    if isinstance(node, list):
        return [_decidable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _decidable(value) for key, value in node.items()}
    match node.get("anyOf"):
        case [schema, {"type": "null"}] if len(node) == 1:
            return {"if": {"type": "null"}, "else": schema}
    chosen = node.pop("discriminator", None)
    if not isinstance(chosen, dict) or "oneOf" not in node:
        return node if chosen is None else {**node, "discriminator": chosen}
    del node["oneOf"]
    name, mapping = chosen["propertyName"], chosen["mapping"]
    node["type"] = "object"
    node["required"] = [name]
    node["properties"] = {name: {"enum": list(mapping)}}
    node["allOf"] = [
        {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": {"$ref": ref}}
        for value, ref in mapping.items()
    ]
    return node


def _undated(beta: str) -> str:
    """A beta value without its date: older and newer ones of one name get the beta route's shape."""
    return beta[: -len("2026-01-01")]
