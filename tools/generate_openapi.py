"""Writes the OpenAPI document that the gateway serves. ``--check`` only compares.

Nothing in it is written by hand: paths and methods are the gateway's routes, bodies their ``Params`` models, answers
and query parameters the contract's (tests/conformance/contract.json), statuses the tree of errors.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from efferent.gateway import app, errors
from tests.conformance.contract import Route, opened, the_contract
from tools.request_shapes import body_shape

FILE: Final = Path(app.__file__).with_name("openapi.json")
VERSIONS: Final = ("2023-06-01", "2026-10-21")

_SCHEMAS: Final = "#/components/schemas/"
_ERROR_ANSWER: Final = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}ErrorEnvelope"}}}
_ONLY_WRITES: Final = frozenset({409, 413})
"""Statuses that a request which changes nothing cannot have."""
_ONLY_HEARTBEATS: Final = 412
_TEXT: Final = {"schema": {"type": "string"}}
_ANSWER_HEADERS: Final = {
    name: {**_TEXT, "required": True} for name in ("request-id", "anthropic-organization-id", "anthropic-workspace-id")
}
_ERROR_HEADERS: Final = {"request-id": {**_TEXT, "required": True}}
_RETRY_AFTER: Final = {"retry-after": {"description": "Seconds to wait.", "schema": {"type": "string"}}}
_NEVER_PLANNED: Final = frozenset({405, 500})
"""A wrong method is no operation; a defect is no answer to count on."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route of the gateway and the rows of the contract that it serves."""

    method: str
    path: str
    rows: tuple[Route, ...]
    body: type[BaseModel] | None
    summary: str


_DONE_ONCE: Final = frozenset(
    {"/v1/sessions", "/v1/sessions/{session_id}/events", "/v1/deployments/{deployment_id}/run"}
)
_HEADERS_READ: Final[tuple[tuple[str, str, Callable[[Operation], bool]], ...]] = (
    ("anthropic-workspace-id", "The workspace of the key, if it is sent.", lambda _: True),
    (
        "idempotency-key",
        "The same key with the same body is done once.",
        lambda it: it.method == "POST" and it.path in _DONE_ONCE,
    ),
    ("last-event-id", "Events after this one come first.", lambda it: it.rows[0].answer == "stream"),
    ("anthropic-worker-id", "Who polls.", lambda it: it.path.endswith("/work/poll")),
)


def document() -> Json:
    """The whole document."""
    operations = sorted(_operations(), key=lambda each: (each.path, each.method))
    schemas: Json = {}
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    _add_named(schemas, list(paths.values()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Efferent", "version": "1", "summary": "The Claude Managed Agents API, self-hosted"},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "responses": {
                str(status): {
                    "description": text,
                    "headers": _ERROR_HEADERS | (_RETRY_AFTER if status == 429 else {}),
                    "content": _ERROR_ANSWER,
                }
                for status, text in _statuses().items()
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def text() -> str:
    """The file: an operation or a schema a line."""
    whole = document()
    paths = ",\n".join(
        f"{json.dumps(path)}: {{\n" + ",\n".join(f"{json.dumps(m)}: {json.dumps(o)}" for m, o in item.items()) + "\n}"
        for path, item in whole.pop("paths").items()
    )
    schemas = ",\n".join(f"{json.dumps(n)}: {json.dumps(s)}" for n, s in whole["components"].pop("schemas").items())
    components = json.dumps(whole.pop("components"))[1:-1]
    head = json.dumps(whole)[1:-1]
    return f'{{{head},\n"paths": {{\n{paths}\n}},\n"components": {{{components}, "schemas": {{\n{schemas}\n}}}}}}\n'


def _operations() -> Iterator[Operation]:
    for route in app.all_routes():
        if not isinstance(route, web.RouteDef) or not route.path.startswith("/v1/") or route.method == "HEAD":
            continue
        known = (*the_contract().routes, *the_contract().own_routes)
        rows = tuple(row for row in known if (row.method, _shape(row.path)) == _key(route))
        if not rows:
            raise ValueError(f"{route.method} {route.path}: neither the contract nor own_routes.py has it")
        handler: Any = route.handler
        body = body_shape(handler)
        if body is None and any(row.body == "json" for row in rows):
            raise ValueError(f"{route.method} {route.path}: no Params model is found for its body")
        yield Operation(route.method, rows[0].path, rows, body, (handler.__doc__ or "").partition("\n")[0])


def _key(route: web.RouteDef) -> tuple[str, str]:
    return route.method, _shape(route.path)


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def _operation(operation: Operation, schemas: Json) -> Json:
    operation_id = operation.rows[0].sdk_method.removeprefix("beta.")
    described: Json = {"operationId": operation_id, "summary": operation.summary}
    described["parameters"] = [*_path_parameters(operation), *_query_parameters(operation), *_headers(operation)]
    body = _request_body(operation, schemas)
    if body is not None:
        described["requestBody"] = body
    statuses = [status for status in _statuses() if _can_have(operation, status)]
    described["responses"] = {
        "200": _answer(operation),
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses},
    }
    return described


def _can_have(operation: Operation, status: int) -> bool:
    if status == _ONLY_HEARTBEATS:
        return operation.path.endswith("/heartbeat")
    return operation.method != "GET" or status not in _ONLY_WRITES


def _path_parameters(operation: Operation) -> Iterator[Json]:
    for name in re.findall(r"{([^}]*)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(operation: Operation) -> Iterator[Json]:
    merged = {name: schema for row in operation.rows for name, schema in row.query.items()}
    for name, schema in sorted(merged.items()):
        # What may be null may be left out: a URL has no null.
        schema = next((member for member in schema.get("anyOf", ()) if member.get("type") == "array"), schema)
        is_list = schema.get("type") == "array"
        yield {"name": f"{name}[]" if is_list else name, "in": "query", "required": False, "schema": schema}


def _headers(operation: Operation) -> Iterator[Json]:
    versions = {"type": "string", "enum": list(VERSIONS)}
    yield {"name": "anthropic-version", "in": "header", "required": True, "schema": versions}
    betas = [row.beta for row in operation.rows]
    if betas and all(beta is not None for beta in betas):
        schema = {"type": "string", "enum": sorted({beta for beta in betas if beta is not None})}
        yield {"name": "anthropic-beta", "in": "header", "required": True, "schema": schema}
    for name, what, is_read in _HEADERS_READ:
        if is_read(operation):
            yield {"name": name, "in": "header", "required": False, "description": what, "schema": {"type": "string"}}


def _request_body(operation: Operation, schemas: Json) -> Json | None:
    parts = {name: schema for row in operation.rows for name, schema in row.parts.items()}
    if parts:
        needed = [name for name in parts if name.startswith("file")]
        schema: Json = {"type": "object", "properties": parts, "required": needed}
        return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    if operation.body is None:
        return None
    return {"required": True, "content": {"application/json": {"schema": _body_schema(operation.body, schemas)}}}


def _body_schema(body: type[BaseModel], schemas: Json) -> Json:
    """The schema of a body; models that it names are added. A name that another model has gets the body's in front."""
    schema = body.model_json_schema(ref_template=_SCHEMAS + "{model}", mode="validation")
    for name, model in schema.get("$defs", {}).items():
        if schemas.get(name, model) != model:
            renamed = json.dumps(schema).replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{body.__name__}.{name}"')
            schema = json.loads(renamed)
            schema["$defs"][f"{body.__name__}.{name}"] = schema["$defs"].pop(name)
    schemas.update(schema.pop("$defs", {}))
    return schema


def _answer(operation: Operation) -> Json:
    described: Json = {"description": "What was asked for.", "headers": _ANSWER_HEADERS}
    row = operation.rows[0]
    if row.answer == "bytes":
        described["content"] = {"*/*": {"schema": row.schema}}
    elif row.answer == "stream":
        described["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        different = list({json.dumps(each.schema): each.schema for each in operation.rows}.values())
        schema = different[0] if len(different) == 1 else {"anyOf": different}
        described["content"] = {"application/json": {"schema": opened(schema)}}
    return described


def _add_named(schemas: Json, nodes: list[Any]) -> None:
    """The contract's models that are named anywhere, and those that they name."""
    wanted = [name for node in nodes for name in _names(node)] + ["ErrorEnvelope"]
    known = the_contract().schemas
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = opened(known[name])
            wanted += _names(schemas[name])


def _names(node: Any) -> list[str]:
    return re.findall(rf'"{_SCHEMAS}([^"]+)"', json.dumps(node))


def _statuses() -> dict[int, str]:
    """Statuses of refusals with what they mean."""
    found: dict[int, str] = {}
    kinds: list[type[errors.ApiError]] = [errors.ApiError]
    for kind in kinds:
        kinds += [sub for sub in kind.__subclasses__() if sub not in kinds]
        if kind is not errors.ApiError and kind.status not in _NEVER_PLANNED:
            found.setdefault(kind.status, (kind.__doc__ or kind.__name__).partition("\n")[0])
    return dict(sorted(found.items()))


def main() -> int:
    """Write the file, or say that it is out of step."""
    if "--check" in sys.argv[1:]:
        if FILE.is_file() and FILE.read_text() == text():
            return 0
        print(f"{FILE.name} is out of step with the routes: run python -m tools.generate_openapi", file=sys.stderr)
        return 1
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
