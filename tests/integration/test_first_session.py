"""The first session: an agent writes a file, runs it and answers, live over SSE."""

from anthropic import AsyncAnthropic

from tests.support.playing import Played, message, script

TEXT_TURN = [
    "session.status_running",
    "session.thread_status_running",
    "user.message",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
]


async def test_a_text_turn_is_streamed_and_listed_in_the_recorded_order(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(message("hello"))
    assert [event.type for event in seen] == TEXT_TURN
    assert await played.types() == TEXT_TURN
    assert [event.id for event in seen] == [event.id for event in await played.events()]
    answer = next(event for event in seen if event.type == "agent.message")
    assert answer.content[0].text == "You said: hello"


async def test_an_agent_writes_a_file_runs_it_and_answers(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    text = script(
        {"tool": "write", "input": {"file_path": "/workspace/hello.sh", "content": "echo made by $0\n"}},
        {"tool": "bash", "input": {"command": "sh hello.sh"}},
        {"text": "done"},
    )
    seen = await played.until_idle(message(text))
    results = [event for event in seen if event.type == "agent.tool_result"]
    assert [result.is_error for result in results] == [False, False]
    assert results[1].content[0].text.strip() == "made by hello.sh"
    assert seen[-1].stop_reason.type == "end_turn"


async def test_offline_models_need_no_provider(client: AsyncAnthropic) -> None:
    played = await Played.create(client, model="offline/echo")
    seen = await played.until_idle(message("$ echo one $((1 + 1))"))
    result = next(event for event in seen if event.type == "agent.tool_result")
    assert result.content[0].text.strip() == "one 2"
    assert seen[-1].type == "session.status_idle"
