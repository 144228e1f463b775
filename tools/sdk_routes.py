"""The routes of the API as the installed SDK calls them: read from the SDK's own methods, never from a list of ours.

A route is what one SDK method asks for. Several methods may ask for the same path: the plain and the beta resources do.
"""

import ast
import inspect
import operator
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from anthropic import AsyncAnthropic
from anthropic._resource import AsyncAPIResource

ROOTS: Final = (
    "beta.agents",
    "beta.environments",
    "beta.sessions",
    "beta.deployments",
    "beta.deployment_runs",
    "beta.dreams",
    "beta.vaults",
    "beta.memory_stores",
    "beta.files",
    "beta.skills",
    "beta.user_profiles",
    "beta.tunnels",
    "beta.models",
    "beta.organization.webhooks",
    "files",
    "skills",
    "user_profiles",
    "models",
)
"""The resources of the SDK that are ours to serve; messages and the administration of organizations are not."""

Answer = Literal["object", "list", "stream", "bytes"]

_VERBS: Final = {
    "_get": "GET",
    "_post": "POST",
    "_delete": "DELETE",
    "_get_api_list": "GET",
}


@dataclass(frozen=True, slots=True)
class SdkRoute:
    """What one method of the SDK asks for, and what it reads in the answer."""

    sdk_method: str
    method: str
    path: str
    beta: str | None
    """The ``anthropic-beta`` value that the method always sends."""
    query: dict[str, Any]
    """Parameters of the URL by their names on the wire, with the Python types of the SDK's arguments."""
    answer: Answer
    type: Any
    """What the SDK reads: a model or union; of a list the item, of a stream the event; None for bytes."""
    page: str | None
    """The SDK's class of pages, for lists."""
    body: Literal["json", "multipart"] | None
    parts: dict[str, Any]
    """The parts of a multipart body, with the Python types of the SDK's arguments."""
    nullable: bool
    """The SDK expects ``null`` too."""


def routes() -> list[SdkRoute]:
    """All routes, in the order of ``ROOTS`` and of the SDK's own methods."""
    client = AsyncAnthropic(api_key="none")
    found: list[SdkRoute] = []
    for root in ROOTS:
        found += _routes_of(operator.attrgetter(root)(client), root)
    return found


def _routes_of(resource: AsyncAPIResource, name: str) -> Iterator[SdkRoute]:
    for key, member in vars(type(resource)).items():
        if inspect.isfunction(member) and not key.startswith("_"):
            route = _route(member, f"{name}.{key}")
            if route is not None:
                yield route
        elif isinstance(member, cached_property | property):
            inner = getattr(resource, key)
            if isinstance(inner, AsyncAPIResource):
                yield from _routes_of(inner, f"{name}.{key}")


def _route(function: types.FunctionType, sdk_method: str) -> SdkRoute | None:
    call = _request_call(function)
    if call is None:
        return None
    verb, request = call
    options = _expect(ast.Call, _keyword(request, "options"))
    path = ast.literal_eval(_keyword(options, "span_route") or request.args[0])
    page = _keyword(request, "page")
    streams = _keyword(request, "stream_cls") is not None
    read = _evaluated(_keyword(request, "cast_to") or _keyword(request, "model"), function)
    answer: Answer = "list" if page is not None else "stream" if streams else "object"
    if inspect.isclass(read) and "BinaryAPIResponse" in read.__name__:
        answer, read = "bytes", None
    return SdkRoute(
        sdk_method=sdk_method,
        method=_VERBS[verb],
        path=path,
        beta=_beta(function),
        query=_arguments(_keyword(options, "query"), function),
        answer=answer,
        type=read,
        page=_evaluated(page, function).__name__.partition("[")[0] if page is not None else None,
        body=_body(request),
        parts=_parts(function) if _body(request) == "multipart" else {},
        nullable=_is_nullable(function),
    )


def _request_call(function: types.FunctionType) -> tuple[str, ast.Call] | None:
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _VERBS:
            return node.func.attr, node
    return None


def _tree(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _expect[Node: ast.expr](kind: type[Node], node: ast.expr | None) -> Node:
    if not isinstance(node, kind):
        raise TypeError(f"the SDK is written otherwise than this tool knows: {node} is no {kind.__name__}")
    return node


def _evaluated(node: ast.expr | None, function: types.FunctionType) -> Any:
    if node is None:
        return None
    return eval(compile(ast.Expression(node), "<sdk>", "eval"), function.__globals__)  # noqa: S307 (the SDK's own text)


def _beta(function: types.FunctionType) -> str | None:
    """The fixed value: of ``{"anthropic-beta": "<value>", **...}``."""
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "anthropic-beta" and isinstance(value, ast.Constant):
                    return str(value.value)
    return None


def _arguments(literal: ast.expr | None, function: types.FunctionType) -> dict[str, Any]:
    """Of ``{"name": argument}`` the types of the arguments by their names on the wire."""
    if literal is None:
        return {}
    pairs = _expect(ast.Dict, literal)
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        str(_expect(ast.Constant, key).value): hints[_expect(ast.Name, value).id]
        for key, value in zip(pairs.keys, pairs.values, strict=True)
    }


def _parts(function: types.FunctionType) -> dict[str, Any]:
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "deepcopy_with_paths":
            return _arguments(node.args[0], function)
    raise TypeError(f"the SDK is written otherwise than this tool knows: no parts in {function.__qualname__}")


def _body(request: ast.Call) -> Literal["json", "multipart"] | None:
    if _keyword(request, "files") is not None:
        return "multipart"
    return "json" if _keyword(request, "body") is not None else None


def _is_nullable(function: types.FunctionType) -> bool:
    returned = typing.get_type_hints(function).get("return")
    return type(None) in typing.get_args(returned)
