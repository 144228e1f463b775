"""One model over many providers: routing, silent retries, fallback."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from efferent.brain.models.assembly import build_models
from efferent.brain.models.routing import RoutedModels
from efferent.brain.ports import ModelFailure, TextDelta
from efferent.common.domain.content import TextBlock
from efferent.common.model_config import load
from tests.support.scripted_model import ScriptedModel
from tests.support.scripted_model.asking import ask, collect, script, user

OVERLOADED = {"status": 529, "type": "overloaded_error"}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


class Waits:
    """Stands for sleeping, and remembers how long it was asked to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def build(server: ScriptedModel, path: Path, *, waits: Waits | None = None, **settings: Any) -> RoutedModels:
    lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    (path / "models.yaml").write_text(
        "providers:\n  - name: first\n    kind: anthropic\n    models: [first-*]\n"
        f"    base_url: {server.url}\n    api_key_env: FIRST_KEY\n{lines}"
    )
    environ = {
        "EFFERENT_MODELS_FILE": str(path / "models.yaml"),
        "FIRST_KEY": "k1",
        "ANTHROPIC_API_KEY": "k2",
        "ANTHROPIC_BASE_URL": server.url,
    }
    return build_models(load(environ), environ, sleep=waits or Waits())


async def test_each_model_is_asked_at_its_own_provider(server: ScriptedModel, tmp_path: Path) -> None:
    models = build(server, tmp_path)
    await models.start()
    for model in ("first-a", "claude-opus-5", "offline/echo"):
        _, reply = await collect(models.stream(ask(user("hi"), model=model)))
        assert reply.parts == (TextBlock(text="You said: hi"),)
        assert reply.answered_by is None
    assert [recorded.headers["x-api-key"] for recorded in server.requests] == ["k1", "k2"]
    await models.close()


async def test_model_that_lost_its_provider_is_a_failure_with_the_patterns(
    server: ScriptedModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelFailure, match="first-") as caught:
        await collect(build(server, tmp_path).stream(ask(user("hi"), model="gone")))
    assert caught.value.verdict == "exhausted"


async def test_failures_are_tried_again_silently_up_to_the_limit(server: ScriptedModel, tmp_path: Path) -> None:
    waits = Waits()
    models = build(server, tmp_path, waits=waits, max_retries=2)
    step = {"error": {**OVERLOADED, "times": 2}, "text": "at last"}
    _, reply = await collect(models.stream(ask(script(step), model="first-a")))
    assert reply.parts == (TextBlock(text="at last"),)
    assert waits.seconds == [0.5, 1.0]
    with pytest.raises(ModelFailure):
        await collect(models.stream(ask(script({"error": OVERLOADED}), model="first-a")))
    assert len(server.requests) == 3 + 3
    await models.close()


async def test_there_are_no_silent_tries_unless_asked_for(server: ScriptedModel, tmp_path: Path) -> None:
    models = build(server, tmp_path)
    with pytest.raises(ModelFailure):
        await collect(models.stream(ask(script({"error": OVERLOADED}), model="first-a")))
    assert len(server.requests) == 1
    await models.close()


async def test_wait_is_what_the_provider_asks_for_unless_it_is_long(server: ScriptedModel, tmp_path: Path) -> None:
    waits = Waits()
    models = build(server, tmp_path, waits=waits, max_retries=1)
    limited = {"status": 429, "type": "rate_limit_error", "times": 1}
    await collect(models.stream(ask(script({"error": {**limited, "retry_after": 3}, "text": "x"}), model="first-a")))
    assert waits.seconds == [3.0]
    long = {"error": {**limited, "retry_after": 31}, "text": "y"}
    with pytest.raises(ModelFailure) as caught:
        await collect(models.stream(ask(script(long), model="first-a")))
    assert caught.value.retry_after_s == 31
    await models.close()


async def test_what_was_streamed_is_not_asked_again(server: ScriptedModel, tmp_path: Path) -> None:
    models = build(server, tmp_path, max_retries=5, fallback="claude-opus-5")
    step = {"text": "so far", "stream_error": {"type": "overloaded_error", "message": "x"}}
    stream = models.stream(ask(script(step), model="first-a"))
    assert [await anext(stream), await anext(stream)] == [TextDelta(0, "so "), TextDelta(0, "far")]
    with pytest.raises(ModelFailure):
        await anext(stream)
    assert len(server.requests) == 1
    await models.close()


async def test_fallback_answers_and_is_named(server: ScriptedModel, tmp_path: Path) -> None:
    models = build(server, tmp_path, fallback="claude-opus-5")
    step = {"error": {**OVERLOADED, "times": 1}, "text": "from the other"}
    _, reply = await collect(models.stream(ask(script(step), model="first-a")))
    assert reply.parts == (TextBlock(text="from the other"),)
    assert reply.answered_by == "claude-opus-5"
    assert [recorded.body["model"] for recorded in server.requests] == ["first-a", "claude-opus-5"]
    await models.close()


async def test_history_that_the_provider_refuses_goes_to_nobody_else(server: ScriptedModel, tmp_path: Path) -> None:
    models = build(server, tmp_path, max_retries=3, fallback="claude-opus-5")
    refused = {"error": {"status": 400, "type": "invalid_request_error"}}
    with pytest.raises(ModelFailure) as caught:
        await collect(models.stream(ask(script(refused), model="first-a")))
    assert caught.value.verdict == "terminal"
    assert len(server.requests) == 1
    await models.close()
