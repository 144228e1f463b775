"""From bytes and query strings to checked shapes: every refusal names the path of the bad field.

A body that does not have the right shape is answered ``Failed to parse request: tools[0].configs[0].name: ...``. What a
shape means together with other shapes or with stored state is not this module's business.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from efferent.common.domain import ids, timestamp
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.errors import InvalidRequest

IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
PARSE_TEXT: Final = "Failed to parse request"
DEPTH_MAX: Final = 64
"""Levels of objects and lists in a body."""
_SHOWN_LENGTH_MAX: Final = 100
_QUERY_VALUES_MAX: Final = 1_000


class Params(BaseModel):
    """Base of every request shape: closed, so that a misspelt field is an error, and free of conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def parse_body[Shape: BaseModel](shape: type[Shape], body: bytes) -> Shape:
    """Read a body as a JSON object of this shape. Raises InvalidRequest naming the path of what is wrong."""
    raw = parse_object(body)
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        raise InvalidRequest(f"{PARSE_TEXT}: {first_problem(error, raw)}") from error


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a body as a JSON object. Raises InvalidRequest."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "the request body is empty" if not body.strip() else "the request body is not valid JSON"
        raise InvalidRequest(f"{PARSE_TEXT}: {reason}") from error
    if not isinstance(raw, dict):
        raise InvalidRequest(f"{PARSE_TEXT}: the request body must be a JSON object")
    if _deeper_than(raw, DEPTH_MAX):
        raise InvalidRequest(f"{PARSE_TEXT}: the request body is nested more than {DEPTH_MAX} levels deep")
    return raw


def first_problem(error: ValidationError, raw: object) -> str:
    """The first thing that is wrong, as ``path: what``."""
    problem = error.errors(include_url=False)[0]
    path = _path(problem, raw)
    text = _text(problem)
    return f"{path}: {text}" if path else text


# --- query strings ----------------------------------------------------------------------------------------------------


def check_query(request: web.Request, *known: str) -> None:
    """Refuse too many values. Unknown parameters are ignored, ``?beta=true`` among them."""
    if len(request.query) > _QUERY_VALUES_MAX:
        raise InvalidRequest(f"more than {_QUERY_VALUES_MAX} query parameters")
    for name in known:
        if len(request.query.getall(name, [])) > 1:
            raise InvalidRequest(f"{name}: given more than once")


def query_int(request: web.Request, name: str, *, low: int, high: int) -> int | None:
    """A whole number within bounds; None when it is not given. Raises InvalidRequest."""
    text = request.query.get(name)
    if text is None or text == "":
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise InvalidRequest(f"{name}: {quoted(text)} is not a valid integer")
    value = int(text)
    if not low <= value <= high:
        raise InvalidRequest(f"{name}: must be between {low} and {high}")
    return value


def query_limit(request: web.Request, *, default: int, high: int) -> int:
    """``limit``: how many items a page has. Raises InvalidRequest."""
    return query_int(request, "limit", low=1, high=high) or default


def query_bool(request: web.Request, name: str, *, default: bool = False) -> bool:
    """``true`` or ``false``. Raises InvalidRequest."""
    match request.query.get(name):
        case None | "":
            return default
        case "true" | "True" | "1":
            return True
        case "false" | "False" | "0":
            return False
        case text:
            raise InvalidRequest(f"{name}: {quoted(text)} is not a valid boolean")


def query_list(request: web.Request, name: str, *, allowed: Sequence[str] | None = None) -> tuple[str, ...]:
    """``name[]=a&name[]=b``, older clients also write ``name=a``. Raises InvalidRequest for other values."""
    values = (*request.query.getall(f"{name}[]", []), *request.query.getall(name, []))
    if allowed is not None:
        for index, value in enumerate(values):
            if value not in allowed:
                raise InvalidRequest(f"{name}[{index}]: {not_valid(value, allowed)}")
    return values


def query_order(request: web.Request, default: Literal["asc", "desc"]) -> Literal["asc", "desc"]:
    """``order``. Raises InvalidRequest."""
    match request.query.get("order"):
        case None | "":
            return default
        case "asc":
            return "asc"
        case "desc":
            return "desc"
        case text:
            raise InvalidRequest(f"order: {not_valid(text, ('asc', 'desc'))}")


def query_times(request: web.Request, name: str) -> dict[Literal["gt", "gte", "lt", "lte"], Timestamp]:
    """``name[gte]=...`` and the other bounds as timestamps. Raises InvalidRequest."""
    bounds: dict[Literal["gt", "gte", "lt", "lte"], Timestamp] = {}
    for bound in ("gt", "gte", "lt", "lte"):
        text = request.query.get(f"{name}[{bound}]")
        if text:
            bounds[bound] = read_timestamp(f"{name}[{bound}]", text)
    return bounds


def path_id(request: web.Request, parameter: str, prefix: ids.Prefix, noun: str) -> str:
    """An id of the path. Raises InvalidRequest when no id of this kind can look like it."""
    text = request.match_info[parameter]
    if not ids.is_well_formed(prefix, text):
        raise InvalidRequest(f"Invalid {noun} ID.")
    return text


def quoted(value: object) -> str:
    """A client's value as an error message shows it: as JSON, never long."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = f'"{value}"'
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}..."


def not_valid(value: object, allowed: Sequence[str]) -> str:
    """What is said of a value that is not one of a fixed few."""
    return f"{quoted(value)} is not a valid value; expected one of {', '.join(allowed)}"


# --- how pydantic's findings read -------------------------------------------------------------------------------------


def _path(problem: ErrorDetails, raw: object) -> str:
    """Pydantic's location without the tags of unions, which clients do not know."""
    path, node, last = "", raw, len(problem["loc"]) - 1
    for index, part in enumerate(problem["loc"]):
        if isinstance(part, int) and isinstance(node, Sequence) and part < len(node):
            path, node = f"{path}[{part}]", node[part]
        elif isinstance(node, Mapping) and part == node.get("type") and index != last:
            continue  # the tag of a union, though a field may be called the same: {"type": "text", "text": ...}
        elif isinstance(part, str) and isinstance(node, Mapping) and part in node:
            path, node = _joined(path, part), node[part]
        elif index == last and problem["type"] == "missing":
            path = _joined(path, str(part))
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path = _joined(path, _context(problem, "discriminator").strip("'"))
    return path


def _joined(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _context(problem: ErrorDetails, key: str) -> str:
    return str(problem.get("ctx", {}).get(key, ""))


def _text(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing" | "union_tag_not_found":
            return "field is required"
        case "extra_forbidden":
            return "unknown field"
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", _context(problem, "expected"))
            return not_valid(problem["input"], allowed)
        case "union_tag_invalid":
            allowed = re.findall(r"'([^']*)'", _context(problem, "expected_tags"))
            return not_valid(context.get("tag"), allowed)
        case "string_type":
            return "must be a string"
        case "int_type":
            return "must be an integer"
        case "bool_type":
            return "must be a boolean"
        case "list_type" | "tuple_type":
            return "must be a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "must be an object"
        case "string_too_short":
            return f"must be at least {_characters(context['min_length'])} long"
        case "string_too_long":
            return f"must be at most {_characters(context['max_length'])} long"
        case "too_short":
            return f"must have at least {_entries(context['min_length'])}"
        case "too_long":
            return f"must have at most {_entries(context['max_length'])}"
        case "value_error":
            return str(context["error"])
        case _:
            return problem["msg"][:1].lower() + problem["msg"][1:]


def _characters(count: int) -> str:
    return f"{count} character{'' if count == 1 else 's'}"


def _entries(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"


def read_timestamp(name: str, text: str) -> Timestamp:
    """A client's point in time; without a zone it is UTC. Raises InvalidRequest naming the field."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return timestamp.from_datetime(moment)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{name}: {quoted(text)} is not a valid RFC 3339 date-time") from error


def _deeper_than(node: object, levels: int) -> bool:
    """Tell whether containers are nested deeper than this, without recursion of our own."""
    layer: list[object] = [node]
    for _ in range(levels):
        following: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                following += [value for value in item.values() if isinstance(value, dict | list)]
            elif isinstance(item, list):
                following += [value for value in item if isinstance(value, dict | list)]
        if not following:
            return False
        layer = following
    return True


def idempotency_key_of(request: web.Request) -> str | None:
    """The ``Idempotency-Key``, None when the client sent none. Raises InvalidRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidRequest(f"Idempotency-Key: must be 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters long")
    return key
