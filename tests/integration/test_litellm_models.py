"""A model of another provider: the turn goes through litellm to an OpenAI-compatible server."""

from collections.abc import AsyncIterator, Iterator

import pytest
from anthropic import AsyncAnthropic

from tests.integration.conftest import PROVIDER_KEY
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.model_control import ModelControl
from tests.support.playing import Played, bash, fresh_name, of_type, scripted, text_of, types_of


@pytest.fixture(scope="module")
def openai_server(tmp_path_factory: pytest.TempPathFactory, model_url: str) -> Iterator[EfferentServer]:
    environ = {"OPENAI_BASE_URL": f"{model_url}/v1", "OPENAI_API_KEY": PROVIDER_KEY}
    server = EfferentServer(tmp_path_factory.mktemp("litellm") / "data", environ)
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture
async def openai_client(openai_server: EfferentServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=openai_server.base_url, api_key=API_KEY, max_retries=0) as sdk:
        yield sdk


@pytest.mark.timeout(300)
async def test_a_tool_turn_with_an_openai_compatible_model(openai_client: AsyncAnthropic, model: ModelControl) -> None:
    played = await Played.create(openai_client, model="openai/gpt-test", agent={"system": "be brief"})
    word = fresh_name("openai")
    async with played.watch(event_deltas=["agent.message"]) as watch:
        await played.send(scripted({"text": "I look", **bash("echo hi")}, {"text": "it says hi"}, say=word))
        idle = await watch.until("session.status_idle")
    seen = [event for event in watch.seen if not event.type.startswith("event_")]
    assert len(seen) < len(watch.seen), "no previews"
    assert types_of(seen)[3:9] == [
        "span.model_request_start", "agent.message", "agent.tool_use", "span.model_request_end", "agent.tool_result",
        "span.model_request_start",
    ]  # fmt: skip
    assert idle.stop_reason.type == "end_turn"
    assert text_of(of_type(seen, "agent.tool_result")[0]).strip() == "hi"
    assert [text_of(event) for event in of_type(seen, "agent.message")] == ["I look", "it says hi"]
    assert all(event.model_usage.output_tokens > 0 for event in of_type(seen, "span.model_request_end"))
    first, second = await model.requests(word)
    assert first["path"] == "/v1/chat/completions"
    assert first["headers"]["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert first["body"]["model"] == "gpt-test"
    assert [each["role"] for each in second["body"]["messages"]] == ["system", "user", "assistant", "tool"]
    await played.events()


@pytest.mark.timeout(300)
async def test_failures_of_an_openai_compatible_model_are_session_errors(openai_client: AsyncAnthropic) -> None:
    played = await Played.create(openai_client, model="openai/gpt-test")
    busy = {"status": 429, "type": "rate_limit", "message": "slow down", "times": 1}
    seen = await played.until_idle(scripted({"error": busy, "text": "now"}))
    assert [event.error.type for event in of_type(seen, "session.error")] == ["model_rate_limited_error"]
    assert seen[-1].stop_reason.type == "end_turn"
    unpaid = {"status": 401, "type": "auth", "message": "bad key"}
    seen = await played.until_idle(scripted({"error": unpaid}))
    (error,) = of_type(seen, "session.error")
    assert error.error.retry_status.type == "exhausted"
    assert PROVIDER_KEY not in error.error.message
