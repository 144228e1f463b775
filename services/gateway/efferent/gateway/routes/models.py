"""``/v1/models``: which models can be the brain here, from the configured providers and the catalog."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from efferent.common.domain import timestamp
from efferent.common.domain.model_catalog import EFFORT_LEVELS, KNOWN_MODELS, Lifecycle, ModelTraits
from efferent.common.domain.timestamp import Timestamp
from efferent.common.model_config import ModelConfigs, UnknownModel
from efferent.gateway.context import context_of
from efferent.gateway.errors import InvalidRequest, NotFound
from efferent.gateway.responses import json_bytes
from efferent.gateway.validation import query_limit, query_list, quoted

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 1_000
LIFECYCLES: Final = ("active", "deprecated", "retired")
LIFECYCLES_DEFAULT: Final = ("active", "deprecated")
NOT_FOUND_TEXT: Final = "Model not found."

_EPOCH: Final = "1970-01-01T00:00:00Z"
_ID_LENGTH_MAX: Final = 256


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file; ids of models may hold slashes."""
    return [web.get("/v1/models", list_models), web.get("/v1/models/{model_id:.+}", retrieve)]


async def list_models(request: web.Request) -> web.Response:
    """Known models, newest first, then those that the configuration names itself."""
    wanted, now = query_list(request, "lifecycle", allowed=LIFECYCLES) or LIFECYCLES_DEFAULT, _now(request)
    limit = query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX)
    models = [traits for traits in listed(context_of(request).models) if _lifecycle(traits, now) in wanted]
    chosen, has_more = _cut(request, models, limit)
    body = {
        "data": [model_info(traits, now) for traits in chosen],
        "has_more": has_more,
        "first_id": chosen[0].id if chosen else None,
        "last_id": chosen[-1].id if chosen else None,
    }
    return json_bytes(orjson.dumps(body))


async def retrieve(request: web.Request) -> web.Response:
    """One model that a provider answers for, known or not."""
    model_id = request.match_info["model_id"]
    if len(model_id) > _ID_LENGTH_MAX:
        raise NotFound(NOT_FOUND_TEXT)
    try:
        traits = context_of(request).models.traits(model_id)
    except UnknownModel as error:
        raise NotFound(NOT_FOUND_TEXT) from error
    return json_bytes(orjson.dumps(model_info(traits, _now(request))))


def listed(models: ModelConfigs) -> Iterable[ModelTraits]:
    """The models of the catalog that a provider answers for, and the ids that providers name without wildcards."""
    seen: set[str] = set()
    for model_id in (*(traits.id for traits in KNOWN_MODELS), *_named(models)):
        try:
            traits = models.traits(model_id)
        except UnknownModel:
            continue
        if model_id not in seen:
            seen.add(model_id)
            yield traits


def model_info(traits: ModelTraits, now: Timestamp) -> dict[str, Any]:
    """A model as clients read it now."""
    return {
        "type": "model",
        "id": traits.id,
        "display_name": traits.display_name,
        "created_at": traits.created_at or _EPOCH,
        "line": traits.line,
        "lifecycle": _lifecycle(traits, now),
        "deprecated_at": traits.deprecated_at,
        "retires_at": traits.retires_at,
        "max_input_tokens": traits.context_window,
        "max_tokens": traits.output_tokens_max,
        "allowed_fallback_models": None,
        "capabilities": _capabilities(traits),
    }


def _lifecycle(traits: ModelTraits, now: Timestamp) -> Lifecycle:
    """A model is retired from its day on, whatever the catalog says of it before."""
    return "retired" if traits.retires_at is not None and traits.retires_at <= now else traits.lifecycle


def _now(request: web.Request) -> Timestamp:
    return timestamp.from_epoch_us(context_of(request).clock.now_us())


def _capabilities(traits: ModelTraits) -> dict[str, Any]:
    """What a session can use of the model here: batches, citations and code execution are not among it."""
    thinks = traits.thinking != "none"
    adapts = traits.thinking in ("adaptive", "adaptive_always")
    return {
        "batch": _support(False),
        "citations": _support(False),
        "code_execution": _support(False),
        "compaction": None,
        "context_management": {
            "supported": False,
            "clear_thinking_20251015": None,
            "clear_tool_uses_20250919": None,
            "compact_20260112": None,
        },
        "effort": {
            "supported": bool(traits.efforts),
            **{level: _support(level in traits.efforts) for level in EFFORT_LEVELS},
        },
        "image_input": _support(traits.image_input),
        "pdf_input": _support(traits.pdf_input),
        "server_tools": {"supported": False, "code_execution": _support(False), "web_search": _support(False)},
        "structured_outputs": _support(False),
        "thinking": {
            "supported": thinks,
            "types": {
                "adaptive": _support(adapts),
                "between_tools": _support(thinks),
                "disabled": _support(traits.thinking != "adaptive_always"),
                "enabled": _support(traits.thinking == "budget"),
            },
        },
    }


def _support(supported: bool) -> dict[str, bool]:
    return {"supported": supported}


def _named(models: ModelConfigs) -> Iterable[str]:
    patterns = (pattern for provider in models.providers for pattern in provider.models)
    return (pattern for pattern in patterns if not any(mark in pattern for mark in "*?["))


def _cut(request: web.Request, models: Sequence[ModelTraits], limit: int) -> tuple[Sequence[ModelTraits], bool]:
    """The page behind ``after_id``, or the one before ``before_id``, and whether there is more in that direction."""
    after_id, before_id = request.query.get("after_id"), request.query.get("before_id")
    if after_id and before_id:
        raise InvalidRequest("after_id: only one of after_id and before_id may be given")
    if before_id:
        end = _place(models, before_id, "before_id")
        start = max(0, end - limit)
        return models[start:end], start > 0
    start = _place(models, after_id, "after_id") + 1 if after_id else 0
    return models[start : start + limit], start + limit < len(models)


def _place(models: Sequence[ModelTraits], model_id: str, parameter: str) -> int:
    for index, traits in enumerate(models):
        if traits.id == model_id:
            return index
    raise InvalidRequest(f"{parameter}: there is no model {quoted(model_id)} in this list")
