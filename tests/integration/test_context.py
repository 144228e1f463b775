"""What the model is asked and what is counted: history, thinking, caching, compaction, usage and cost."""

from typing import Any

from anthropic import AsyncAnthropic

from tests.support.model_control import ModelControl
from tests.support.playing import Played, bash, fresh_name, message, of_type, scripted, text_of, types_of

USAGE = {"input_tokens": 100_000, "output_tokens": 10_000, "cache_read_input_tokens": 100_000}


def blocks(request: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and type of every block of a request's messages."""
    return [
        (each["role"], block["type"])
        for each in request["body"]["messages"]
        for block in ([{"type": "text"}] if isinstance(each["content"], str) else each["content"])
    ]


async def test_thinking_is_sent_back_with_its_signature(client: AsyncAnthropic, model: ModelControl) -> None:
    played, word = await Played.create(client), fresh_name("thinking")
    step = {"thinking": "step one", "redacted": "AAAA", "text": "I look", **bash("echo hi")}
    seen = await played.until_idle(scripted(step, {"text": "done"}, say=word))
    assert len(of_type(seen, "agent.thinking")) == 2
    first, second = await model.requests(word)
    assert first["body"]["thinking"]["type"] in ("enabled", "adaptive")
    assistant = second["body"]["messages"][1]["content"]
    assert [block["type"] for block in assistant] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert (assistant[0]["thinking"], assistant[0]["signature"]) == ("step one", "sig:step one")
    assert assistant[1]["data"] == "AAAA"
    result = second["body"]["messages"][2]["content"][0]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", assistant[3]["id"])
    # No thinking is ever shown to clients.
    assert (
        "step one"
        not in str([event.to_dict() for event in await played.events()]).replace(word, "").split("script:")[0]
    )


async def test_every_request_repeats_the_history_and_marks_it_for_the_cache(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played = await Played.create(client, agent={"system": "be brief"})
    words = [fresh_name("turn") for _ in range(3)]
    for word in words:
        await played.until_idle(message(word))
    (request,) = await model.requests(words[-1])
    texts = str(request["body"]["messages"])
    assert all(word in texts for word in words)
    assert blocks(request) == [("user", "text"), ("assistant", "text")] * 2 + [("user", "text")]
    assert "be brief" in str(request["body"]["system"])
    marked = str(request["body"]).count("cache_control")
    assert 1 <= marked <= 4
    assert "cache_control" in str(request["body"]["messages"][-1])
    # A prefix that was asked before is asked again unchanged, or the provider's cache is of no use.
    (before,) = await model.requests(words[1])

    def bare(value: dict[str, Any]) -> str:
        stripped = [
            [{key: part for key, part in block.items() if key != "cache_control"} for block in each["content"]]
            for each in value["body"]["messages"]
        ]
        return str(stripped)[1:-1]

    assert bare(request).startswith(bare(before))
    assert request["body"]["tools"] == before["body"]["tools"]


async def test_usage_and_list_cost_are_summed_over_requests(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted({**bash("echo"), "usage": USAGE}, {"text": "done", "usage": USAGE}))
    ends = of_type(seen, "span.model_request_end")
    assert [end.model_usage.output_tokens for end in ends] == [10_000, 10_000]
    shown = (await played.retrieve()).to_dict(mode="json")["usage"]
    assert (shown["input_tokens"], shown["output_tokens"], shown["cache_read_input_tokens"]) == (
        200_000, 20_000, 200_000,
    )  # fmt: skip
    # 2 USD and 10 USD per million tokens, 0.1 USD for those read from the cache; the running time is less than a cent.
    assert shown["list_cost"] == {"amount": "62", "currency": "USD"}
    (usage,) = of_type(seen, "session.usage")
    assert usage.usage.output_tokens == 20_000
    assert usage.usage.list_cost.amount == "62"


async def test_active_seconds_count_the_time_that_the_session_ran(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted(bash("sleep 0.4"), {"text": "x"}))
    usage = (await played.retrieve()).usage
    ran = (seen[-1].processed_at - seen[0].processed_at).total_seconds()
    assert usage.active_seconds is not None
    assert abs(usage.active_seconds - ran) < 0.1
    assert 0.4 < usage.active_seconds < 20


async def test_a_context_near_its_window_is_summarised_and_the_history_is_kept(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played = await Played.create(client, model="small/claude-sonnet-5-5")
    first, second = fresh_name("long"), fresh_name("short")
    full = {"input_tokens": 3_500, "output_tokens": 100}
    seen = await played.until_idle(scripted({**bash("echo hi"), "usage": full}, {"text": "done"}, say=first))
    assert types_of(seen)[6:] == [
        "agent.tool_result", "agent.thread_context_compacted", "span.model_request_start", "agent.message",
        "span.model_request_end", "session.thread_status_idle", "session.usage", "session.status_idle",
    ]  # fmt: skip
    assert seen[-1].stop_reason.type == "end_turn"
    await played.until_idle(message(second))
    (request,) = await model.requests(second)
    assert first not in text_of_request(request)
    assert "summar" in text_of_request(request)
    assert first in text_of(of_type(await played.events(), "user.message")[0])


def text_of_request(request: dict[str, Any]) -> str:
    """All that a request's messages say."""
    return str(request["body"]["messages"])


async def test_a_summary_that_never_helps_ends_the_turn(client: AsyncAnthropic) -> None:
    played = await Played.create(client, model="small/claude-sonnet-5-5")
    full = {"input_tokens": 3_900, "output_tokens": 10}
    steps = [{"text": "", "stop": "pause_turn", "usage": full}] * 6
    seen = await played.until_idle(scripted(*steps))
    assert seen[-1].type == "session.status_idle"
    await played.events()


async def test_output_over_a_hundred_thousand_characters_is_spilled_to_a_file(
    client: AsyncAnthropic, model: ModelControl
) -> None:
    played, word = await Played.create(client), fresh_name("spill")
    command = "i=0; while [ $i -lt 15000 ]; do echo line-$i; i=$((i+1)); done"
    seen = await played.until_idle(scripted(bash(command), {"text": "x"}, say=word))
    (result,) = of_type(seen, "agent.tool_result")
    shown = text_of(result)
    assert len(shown) <= 101_000
    assert "line-0\n" in shown
    path = next(part.strip("`'\".,()[]") for part in shown.split() if part.strip("`'\".,()[]").startswith("/"))
    assert shown in str((await model.requests(word))[-1]["body"]["messages"][-1]["content"][0]["content"][0]["text"])
    again = await played.until_idle(scripted(bash(f"tail -n 1 {path}; wc -l < {path}"), {"text": "x"}))
    (read,) = of_type(again, "agent.tool_result")
    assert "line-14999" in text_of(read)
    assert "14999" in text_of(read).replace("line-14999", "")


async def test_custom_results_and_system_messages_reach_the_model(client: AsyncAnthropic, model: ModelControl) -> None:
    played, word = await Played.create(client), fresh_name("system")
    aside = {"type": "system.message", "content": [{"type": "text", "text": "the user is a child"}]}
    seen = await played.until_idle(message(word), aside)
    assert types_of(seen)[2:4] == ["user.message", "system.message"]
    (request,) = await model.requests(word)
    assert "the user is a child" in str(request["body"])


async def test_images_reach_the_model_and_come_back_in_the_list(client: AsyncAnthropic, model: ModelControl) -> None:
    played, word = await Played.create(client), fresh_name("image")
    data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "text", "text": word}, {"type": "image", "source": source}]
    seen = await played.until_idle({"type": "user.message", "content": content})
    assert of_type(seen, "user.message")[0].content[1].source.data == data
    (request,) = await model.requests(word)
    assert data in str(request["body"]["messages"])


async def test_a_message_of_megabytes_is_kept_whole(client: AsyncAnthropic, model: ModelControl) -> None:
    played, word = await Played.create(client), fresh_name("large")
    text = word + " x" * 1_500_000
    seen = await played.until_idle(message(text))
    assert text_of(of_type(seen, "user.message")[0]) == text
    assert text_of(of_type(await played.events(), "user.message")[0]) == text
