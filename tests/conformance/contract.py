"""What the suite holds every answer against: which route a request meant, and whether its answer is right."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from tests.conformance import own_routes

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

_MORE_FIELDS: Final = ("skills-2025-10-02", "files-api-2025-04-14")
"""Clients of these betas get further fields, of which the present ones know nothing."""
ABSENT: Final = "beta.tunnels."
"""Methods that this server answers with 404 on purpose."""

WEBHOOK: Final = "webhook "
"""Stands before the type of a webhook: sessions' events have some of the same names."""

_HEADERS: Final = ("request-id", "anthropic-organization-id", "anthropic-workspace-id")
_URN: Final = "urn:contract"
_URN_OPEN: Final = "urn:contract-open"
"""The same schemas, but further fields are no breach."""
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
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer was to the contract."""

    routes: tuple[str, ...]
    """The SDK's methods that would have read it: the plain and the beta one where they ask alike; none for an error."""
    event_types: frozenset[str]
    problems: tuple[str, ...]


class Contract:
    """Routes and schemas, read once."""

    def __init__(self, text: str) -> None:
        self._document: dict[str, Any] = json.loads(text)
        self.routes = [Route(**row) for row in self._document["routes"]]
        self.own_routes = [Route(**row) for row in own_routes.ROWS]
        self.event_types: list[str] = self._document["event_types"]
        data = self.schemas["BetaWebhookEvent"]["properties"]["data"]
        self.webhook_types = [WEBHOOK + name for name in sorted(data["discriminator"]["mapping"])]
        for name in _FREE_FORM:
            self.schemas[name].pop("additionalProperties", None)
        for name in _ALL_WEBHOOK_TYPES:
            self.schemas[name]["properties"]["enabled_events"]["items"] = {"type": "string"}
        self._places = [(each, _pattern(each)) for each in sorted([*self.routes, *self.own_routes], key=_openness)]
        document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_decidable(self._document)}
        self._registry = jsonschema_rs.Registry([(_URN, document), (_URN_OPEN, opened(document))])
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    @property
    def schemas(self) -> dict[str, Any]:
        """The models by name."""
        models: dict[str, Any] = self._document["components"]["schemas"]
        return models

    def judge(self, exchange: Exchange) -> Verdict:
        """What the answer was, and what is wrong with it: each problem names route, path in the body and rule."""
        where = f"{exchange.method} {exchange.path.partition('?')[0]} -> {exchange.status}"
        routes = self._meant(exchange)
        if exchange.status >= 400:
            absent = tuple(route.sdk_method for route in routes if route.sdk_method.startswith(ABSENT))
            met = absent if exchange.status == 404 else ()
            return Verdict(met, frozenset(), tuple(f"{where}: {problem}" for problem in self._of_error(exchange)))
        if not routes:
            return Verdict((), frozenset(), (f"{where}: the contract has no such route",))
        has_more_fields = any(beta in exchange.beta for beta in _MORE_FIELDS)
        schemas = [opened(route.schema) if has_more_fields else route.schema for route in routes]
        first, *others = dict.fromkeys(json.dumps(schema) for schema in schemas)
        if has_more_fields:
            first = first.replace('"#/', f'"{_URN_OPEN}#/')
        problems = [*_of_kind(exchange, routes[0]), *self._of_answer(exchange, first)]
        for other in others:  # the plain models know fewer fields than the beta ones, which come first
            problems += self._of_answer(exchange, other.replace('"#/', f'"{_URN_OPEN}#/'))
        if problems:
            return Verdict((), frozenset(), tuple(f"{where}: {problem}" for problem in problems))
        return Verdict(tuple(route.sdk_method for route in routes), self._events_in(exchange, routes[0]), ())

    def judge_webhook(self, body: str) -> Verdict:
        """What a delivery was, and what is wrong with it."""
        event = json.loads(body)
        problems = self.problems_of(event, self._document["webhook"])
        if problems:
            return Verdict((), frozenset(), tuple(f"webhook: {problem}" for problem in problems))
        return Verdict((), frozenset({WEBHOOK + event["data"]["type"]}), ())

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
            return [f"the error has no envelope, but is {exchange.content_type}"]
        body = json.loads(exchange.body)
        problems = self.problems_of(body, {"$ref": "#/components/schemas/ErrorEnvelope"})
        other = "api_error" if exchange.status >= 500 else "invalid_request_error"
        allowed = TYPES_BY_STATUS.get(exchange.status, frozenset({other}))
        if not problems and body["error"]["type"] not in allowed:
            problems.append(f"body.error.type: {body['error']['type']} does not go with the status")
        if not problems and body["request_id"] != exchange.headers.get("request-id"):
            problems.append("body.request_id: is not what the header request-id says")
        if exchange.status == 429 and "retry-after" not in exchange.headers:
            problems.append("header retry-after: is missing")
        return problems

    def _meant(self, exchange: Exchange) -> Sequence[Route]:
        path = exchange.path.partition("?")[0]
        first = next((r for r, p in self._places if r.method == exchange.method and p.fullmatch(path)), None)
        if first is None:
            return ()
        routes = [r for r, _ in self._places if (r.method, r.path) == (first.method, first.path)]
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


def opened(node: Any) -> Any:
    """A schema's twin to which further fields are no breach."""
    if isinstance(node, list):
        return [opened(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: opened(value) for key, value in node.items() if (key, value) != ("additionalProperties", False)}


def _pattern(route: Route) -> re.Pattern[str]:
    free = ".+" if route.path.startswith("/v1/models/") else "[^/]+"
    return re.compile(re.sub(r"\\{[a-z_]+\\}", free, re.escape(route.path)))


def _of_kind(exchange: Exchange, route: Route) -> list[str]:
    """What every answer has, and whether it is JSON, a stream or bytes as its route says."""
    found = [f"header {name}: is missing" for name in _HEADERS if not exchange.headers.get(name)]
    match route.answer:
        case "stream":
            expected = "text/event-stream"
        case "bytes":
            return found
        case _:
            expected = "application/json"
    if exchange.content_type != expected:
        found.append(f"header content-type: is {exchange.content_type}, not {expected}")
    return found


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
