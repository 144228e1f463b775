"""Which ``Params`` model each handler reads its body as: found in the handler's own code, so that nobody keeps a list.

A handler says ``body_as(request, CreateAgentParams)`` or ``parse_body(CreateAgentParams, ...)``, itself or through
functions of the gateway that it calls.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import BaseModel

_READERS: Final = ("body_as", "parse_body")
_OURS: Final = "efferent.gateway."
_DEPTH_MAX: Final = 4


def body_shape(handler: Callable[..., Any]) -> type[BaseModel] | None:
    """The model of the handler's JSON body; None when it reads none. Raises ValueError when it reads two."""
    found = set(_shapes(handler, _DEPTH_MAX))
    if len(found) > 1:
        raise ValueError(f"{handler.__module__}.{handler.__qualname__} reads its body as {found}")
    return found.pop() if found else None


def _shapes(function: Callable[..., Any], depth: int) -> Iterator[type[BaseModel]]:
    function = inspect.unwrap(function)
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith(_OURS):
        return
    names = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else None
        if called in _READERS:
            given = [names.get(argument.id) for argument in node.args if isinstance(argument, ast.Name)]
            yield from (shape for shape in given if inspect.isclass(shape) and issubclass(shape, BaseModel))
        elif called in names and depth > 0:
            yield from _shapes(names[called], depth - 1)
